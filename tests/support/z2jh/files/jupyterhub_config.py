"""What the hub is told before ours: where hub and proxy find each other, and KubeSpawner's settings of the values."""

import os
import sys
from pathlib import Path

from traitlets.config import get_config as config_of_traitlets

sys.path.insert(0, str(Path(__file__).parent))
from z2jh import get_config, get_secret_value

c = config_of_traitlets()
c.JupyterHub.cookie_secret = bytes.fromhex(get_secret_value("hub.config.JupyterHub.cookie_secret"))
c.CryptKeeper.keys = [get_secret_value("hub.config.CryptKeeper.keys")]
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.ConfigurableHTTPProxy.should_start = False

pods = c.KubeSpawner
pods.namespace = os.environ["POD_NAMESPACE"]
pods.start_timeout = get_config("singleuser.startTimeout", 300)
pods.common_labels = {"app": "jupyterhub"}
pods.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
pods.image = "quay.io/jupyterhub/k8s-singleuser-sample:4.4.0"
pods.uid, pods.fs_gid = 1000, 100
pods.cpu_guarantee, pods.mem_guarantee = None, "1G"
pods.service_account = None
pods.events_enabled = True

for lines in get_config("hub.extraConfig", {}).values():
    exec(lines)
