"""Why a server is not started, as exceptions that JupyterHub shows as they are.

JupyterHub maps a spawn's exception to an answer in four places (the form's handler, the REST API, the pending page
and the progress stream). A ``SpawnException`` with a ``jupyterhub_message`` reaches the reader unchanged in all
four, keeps its status, is logged without a traceback, and does not count as a failure of the hub.

- ``ServerRefused``  the catalog does not grant what was asked for: 403
- ``NoProfile``      the catalog has nothing for this person: 403
- ``StartFailed``    the server was granted and could not be started: 500
"""

from collections.abc import Sequence
from html import escape

from jupyterhub.spawner import SpawnException


class _Explained(SpawnException):  # type: ignore[misc]
    """A spawn's end with a sentence for its reader, the same on every page and in the API."""

    def __init__(self, message: str, *, reason: str, status_code: int, html: str = "") -> None:
        super().__init__(message, reason=reason, status_code=status_code, message_html=html)
        self.jupyterhub_message = message
        if html:
            self.jupyterhub_html_message = html


class ServerRefused(_Explained):
    """The choice is not granted; ``key`` says which one, so that a form can show the sentence beside its field."""

    def __init__(self, message: str, *, key: str | None = None, profile: str | None = None) -> None:
        super().__init__(message, reason="option", status_code=403)
        self.key = key
        self.profile = profile


class NoProfile(_Explained):
    """No profile of the catalog is open to this person."""

    def __init__(self, user: str, contact: str) -> None:
        super().__init__(
            f"You are signed in as {user}, but no profile is open to you, so no server can be started. "
            f"Ask {contact} for access.",
            reason="profile",
            status_code=403,
        )


class StartFailed(_Explained):
    """The server did not come up: what happened, what to do, and the last lines it wrote."""

    def __init__(self, message: str, *, log_lines: Sequence[str] = ()) -> None:
        html = f"<p>{escape(message)}</p>"
        if log_lines:
            lines = escape("\n".join(log_lines))
            html += f"<p>The last lines that the server wrote:</p><pre class='text-start'>{lines}</pre>"
        super().__init__(message, reason="start", status_code=500, html=html)
        self.log_lines = tuple(log_lines)


class FormWanted(Exception):  # noqa: N818 - not an error: JupyterHub's only way from a query to the form
    """A URL carries no option after all: JupyterHub then shows the form, without a message."""

    jupyterhub_message = ""
