"""Who may do what, in JupyterHub's words: scopes of people and of notebook servers, and the gateway as a service."""

from typing import Any, Final

GATEWAY: Final = "gateway"
USE_GATEWAY: Final = f"access:services!service={GATEWAY}"
"""The gateway serves those whose token carries this scope."""

EXTRA_USER_SCOPES: Final = (USE_GATEWAY,)
"""What people get beyond JupyterHub's own `user` role, which lets them act on themselves alone."""

SERVER_TOKEN_SCOPES: Final = (
    "users:activity!user",
    "access:servers!server",
    USE_GATEWAY,
    # The gateway asks the hub with the caller's own token who they are.
    "read:users:name!user",
    "read:users:groups!user",
)
"""What a notebook server's token may do: nothing to other servers, and nothing to its owner's account."""


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
        # An admin's login at the gateway's pages is good for everybody's sessions; it opens no more of the hub than the
        # name of its admin page.
        "oauth_client_allowed_scopes": [USE_GATEWAY, "read:users:name!user", "read:users:groups!user", "admin-ui"],
    }
