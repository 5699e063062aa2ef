"""The hub of `load.scale`: the product's configuration, users by an API token instead of a provider, no proxy."""

import json
import os
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from traitlets.config import get_config

from sparkyard_hub.configuration import configure
from sparkyard_hub.settings import HubSettings


class NoProxy(Proxy):
    """Remembers routes and serves none: the load asks the hub at its own port."""

    should_start = False
    routes: ClassVar[dict[str, dict[str, Any]]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return self.routes


told = json.loads(os.environ["SPARKYARD_SCALE_HUB"])
c = get_config()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.services = [{"name": "load", "api_token": told["token"]}]
scopes = ["admin:users", "admin:servers", "tokens", "access:services"]
c.JupyterHub.load_roles = [{"name": "load", "services": ["load"], "scopes": scopes}]
configure(c, HubSettings(**told["settings"]))
c.JupyterHub.bind_url = f"{told['settings']['public_url']}/"
c.JupyterHub.hub_bind_url = told["settings"]["public_url"]
c.JupyterHub.cleanup_servers = False
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
spawner = c.KubernetesSpawner
spawner.namespace = told["namespace"]
# What a simulated pod can't do: one server here answers for all notebooks.
spawner.pod_connect_ip = "127.0.0.1"
spawner.port = told["notebooks_port"]
