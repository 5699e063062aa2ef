"""The hub token for Sparkmagic's own requests: what a class named in its `authenticators` setting must be."""

from sparkmagic.auth.customauth import Authenticator

from sparkyard_sparkmagic.token import HubToken


class HubTokenAuthenticator(HubToken, Authenticator):  # type: ignore[misc]  # sparkmagic has no types
    """Signs each request anew; asks the user for nothing, so it has no widgets."""

    def __init__(self, parsed_attributes: object = None) -> None:
        Authenticator.__init__(self, parsed_attributes)

    def get_widgets(self, widget_width: str) -> list[object]:
        """Called by Sparkmagic's session manager."""
        del widget_width
        return []

    def update_with_widget_values(self) -> None:
        """Nothing to update."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HubTokenAuthenticator) and other.url == self.url

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.url))
