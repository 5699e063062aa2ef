"""The server's hub token on every request.

JupyterHub hands a notebook server its token as JUPYTERHUB_API_TOKEN. It is read anew for each request, so a changed
one takes effect at once, and it is never an attribute: nothing that prints this object can print it.
"""

import os

from requests import PreparedRequest
from requests.auth import AuthBase

from sparkyard_sparkmagic.errors import ConfigurationError

VARIABLE = "JUPYTERHUB_API_TOKEN"


class HubToken(AuthBase):
    """Signs a request as the person whose notebook server this is."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Called by requests just before sending; returns the signed request."""
        if not os.environ.get(VARIABLE):
            raise ConfigurationError(
                f"{VARIABLE} is not set, so the gateway would not know who you are: "
                "start the server from the hub and open the notebook there."
            )
        r.headers["Authorization"] = f"token {os.environ[VARIABLE]}"
        return r
