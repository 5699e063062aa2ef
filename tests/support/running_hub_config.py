"""JupyterHub's configuration in the spawners' tests: the real hub and our spawner, people by name.

Without a proxy, but for the tests in which a browser goes to a server: these have Traefik.
"""

import json
import os
import sysconfig
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from tornado.web import StaticFileHandler
from traitlets.config import Config, get_config

from sparkyard_hub import profile_page
from sparkyard_hub.access import SERVER_TOKEN_SCOPES, USE_GATEWAY
from sparkyard_hub.culling import Limits, configure_culling
from sparkyard_spawner import configure_local, configure_spawner


class NoProxy(Proxy):
    """Remembers routes and serves none: the tests ask the hub at its own port."""

    should_start = False
    routes: ClassVar[dict[str, dict[str, Any]]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return self.routes


settings = json.loads(os.environ["TEST_HUB"])
state = Path(settings["state"])
pages = Path(profile_page.__file__).parent

c = get_config()
c.JupyterHub.bind_url = f"http://127.0.0.1:{settings['port']}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings['port']}"
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.db_url = f"sqlite:///{state}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.JupyterHub.cleanup_servers = settings["cleanup"]
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "open"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"ada"}
c.JupyterHub.load_groups = {
    "analysts": {"users": ["ann"]},
    "scientists": {"users": ["sam", "mia"]},
    "others": {"users": ["olaf"]},
}
c.JupyterHub.services = [{"name": "tester", "api_token": settings["token"]}]
scopes = ["admin:users", "admin:servers", "admin:groups", "tokens"]
c.JupyterHub.load_roles = [{"name": "tester", "services": ["tester"], "scopes": scopes}]
c.JupyterHub.template_paths = [str(pages / "templates")]
c.JupyterHub.extra_handlers = [(r"/sparkyard/(.*)", StaticFileHandler, {"path": str(pages / "static")})]
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
configure_spawner(
    c,
    catalog=Path(settings["catalog"]),
    gateway_url="http://127.0.0.1:1",
    options_form=profile_page.render_form,
    contact="the data team",
)
configure_local(
    c,
    users=state / "users",
    logs=state / "logs",
    examples=Path(settings["examples"]),
    supervisor_pid=settings["supervisor"],
)
c.Spawner.server_token_scopes = [scope for scope in SERVER_TOKEN_SCOPES if scope != USE_GATEWAY]
if settings["culling"]:
    configure_culling(c, Limits(**settings["culling"]), by_hub=True)
if settings["public_port"]:
    c.JupyterHub.bind_url = f"http://127.0.0.1:{settings['public_port']}/"
    c.JupyterHub.proxy_class = "traefik_file"
    c.TraefikFileProviderProxy.static_config_file = str(state / "traefik.toml")
    c.TraefikFileProviderProxy.dynamic_config_file = str(state / "traefik-rules.toml")
    c.TraefikFileProviderProxy.traefik_api_url = f"http://127.0.0.1:{settings['proxy_api_port']}"
    c.TraefikFileProviderProxy.traefik_env = {"PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin"}
c.merge(Config(settings["config"]))
