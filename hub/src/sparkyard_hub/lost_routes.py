"""The proxy that a deployment runs beside the hub: when it has lost its routes, it is given them again.

A proxy that is replaced knows no routes, and sends everything to the hub. JupyterHub looks for missing routes in its
round of who was active when, which walks through every server and is minutes apart. Here one route that must always
be there, the gateway's, is asked for every few seconds; all of them are looked at only when it is gone.
"""

from typing import Any, Final

from aiohttp import ClientResponseError
from jupyterhub.proxy import ConfigurableHTTPProxy
from tornado.ioloop import PeriodicCallback
from traitlets import Float

from sparkyard_hub.access import GATEWAY

ROUTE: Final = f"/services/{GATEWAY}/"


class RememberedProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """configurable-http-proxy, which the hub gives its routes again once it was replaced."""

    look_seconds = Float(5.0, config=True, help="How often the proxy is asked whether it has its routes.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._looking = PeriodicCallback(self.look, 1000 * self.look_seconds, jitter=0.2)
        self._looking.start()

    async def look(self) -> None:
        """Give the proxy its routes if it has lost them."""
        try:
            await self.api_request(self._routespec_to_chp_path(ROUTE))
        except TimeoutError:
            return  # it is away; the next look may find it
        except ClientResponseError as error:
            if error.status != 404:
                self.log.warning("The proxy does not say whether it has its routes: %s", error.status)
                return
        else:
            return
        services = self.app._service_map  # noqa: SLF001  (as JupyterHub itself hands it to its proxy)
        if GATEWAY in services:  # else the hub is just starting, and gives the routes itself
            self.log.warning("The proxy has lost its routes, and gets them again")
            await self.check_routes(self.app.users, services)
