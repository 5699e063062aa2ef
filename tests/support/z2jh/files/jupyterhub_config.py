"""What the hub is told before ours: where hub and proxy find each other, and KubeSpawner's settings of the values."""

import os
import sys
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient
from traitlets.config import get_config as config_of_traitlets

sys.path.insert(0, str(Path(__file__).parent))
from z2jh import get_config, get_name, get_secret_value

AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")

c = config_of_traitlets()
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.concurrent_spawn_limit = 64
c.JupyterHub.allow_named_servers = False
c.JupyterHub.template_paths = []
c.JupyterHub.template_vars = {}
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = f"http://hub:{os.environ['HUB_SERVICE_PORT']}"
c.ConfigurableHTTPProxy.api_url = f"http://proxy-api:{os.environ['PROXY_API_SERVICE_PORT']}"
c.ConfigurableHTTPProxy.should_start = False
c.Spawner.consecutive_failure_limit = 5

pods = c.KubeSpawner
pods.namespace = os.environ["POD_NAMESPACE"]
pods.start_timeout = get_config("singleuser.startTimeout", 300)
release = os.environ["HELM_RELEASE_NAME"]
pods.common_labels = {
    "app": "jupyterhub",
    "app.kubernetes.io/name": "jupyterhub",
    "app.kubernetes.io/instance": release,
}
pods.common_labels |= {"release": release, "app.kubernetes.io/managed-by": "kubespawner"}
pods.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
pods.image = "quay.io/jupyterhub/k8s-singleuser-sample:4.4.0"
pods.uid, pods.fs_gid = 1000, 100
pods.mem_guarantee = "1G"
pods.allow_privilege_escalation = False
pods.events_enabled = True
pods.profile_list = []
pods.init_containers, pods.extra_containers = [], []
pods.volumes, pods.volume_mounts = {}, {}
if get_config("scheduling.userScheduler.enabled"):
    pods.scheduler_name = get_name("user-scheduler")
if get_config("scheduling.podPriority.enabled"):
    pods.priority_class_name = get_name("priority")
purpose = {"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}
pods.node_affinity_preferred = [{"weight": 100, "preference": {"matchExpressions": [purpose]}}]
dedicated = {"operator": "Equal", "value": "user", "effect": "NoSchedule"}
pods.tolerations = [dedicated | {"key": f"hub.jupyter.org{mark}dedicated"} for mark in "/_"]

c.JupyterHub.services = []
c.JupyterHub.load_roles = []
if get_config("cull.enabled"):
    culler = "jupyterhub-idle-culler"
    command = ["python3", "-m", "jupyterhub_idle_culler", "--url=http://localhost:8081/hub/api"]
    command += [f"--timeout={get_config('cull.timeout')}", f"--cull-every={get_config('cull.every')}"]
    c.JupyterHub.services.append(
        {"name": culler, "command": [*command, f"--concurrency={get_config('cull.concurrency')}"]}
    )
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    c.JupyterHub.load_roles.append({"name": culler, "scopes": scopes, "services": [culler]})
c.Spawner.cmd = "jupyterhub-singleuser"

c.JupyterHub.cookie_secret = get_secret_value("hub.config.JupyterHub.cookie_secret")
c.CryptKeeper.keys = get_secret_value("hub.config.CryptKeeper.keys").split(";")
# As its own values have it: what is not set over is a hub that lets everybody in.
c.JupyterHub.update({"admin_access": True, "authenticator_class": "dummy"})
for section, settings in get_config("hub.config", {}).items():
    c[section].update(settings)

for _, lines in sorted(get_config("hub.extraConfig", {}).items()):
    exec(lines)
