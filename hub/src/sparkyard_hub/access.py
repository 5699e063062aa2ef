"""Who may do what, in JupyterHub's words: scopes of people and of notebook servers, and the gateway as a service."""

from typing import Any, Final

GATEWAY: Final = "gateway"
USE_GATEWAY: Final = f"access:services!service={GATEWAY}"
"""The gateway serves those whose token carries this scope."""

OVERSEE: Final = "custom:sparkyard:oversee"
"""With this scope a token acts at the gateway with its owner's power over others' sessions: a lead's over the team's,
an admin's over all. To anybody else it gives nothing, so everybody may make a token with it."""

CUSTOM_SCOPES: Final = {
    OVERSEE: {"description": "See and stop the Spark sessions of those whom you lead or administer."},
}

EXTRA_USER_SCOPES: Final = (USE_GATEWAY, OVERSEE)
"""What people get beyond JupyterHub's own `user` role, which lets them act on themselves alone."""

SERVER_TOKEN_SCOPES: Final = (
    "users:activity!user",
    # By which it can say when it will be stopped.
    "read:servers!server",
    "access:servers!server",
    USE_GATEWAY,
    # The gateway asks the hub with the caller's own token who they are.
    "read:users:name!user",
    "read:users:groups!user",
)
"""What a notebook server's token may do: nothing to other servers, nothing to its owner's account, and nothing to the
sessions of those whom its owner leads. Code in a notebook may be anybody's."""


def gateway_service(url: str, token: str) -> dict[str, Any]:
    """The gateway as JupyterHub knows it; browsers that open the Spark UI sign in through the hub."""
    return {
        "name": GATEWAY,
        "url": url,
        "api_token": token,
        "display": False,
        "oauth_client_id": f"service-{GATEWAY}",
        "oauth_redirect_uri": f"/services/{GATEWAY}/oauth_callback",
        "oauth_no_confirm": True,
        # A browser's login there is its person's own, so that leads find their team's sessions on the pages.
        "oauth_client_allowed_scopes": [USE_GATEWAY, OVERSEE, "read:users:name!user", "read:users:groups!user"],
    }
