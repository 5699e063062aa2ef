"""The hub's configuration in the stories on a cluster: the product's own, with the hub itself on this machine.

Pods reach the hub at this machine's address in the cluster's network; people reach it through Traefik here.
"""

import json
import os

from traitlets.config import get_config

from sparkyard_hub.configuration import configure
from sparkyard_hub.settings import HubSettings

told = json.loads(os.environ["TEST_CLUSTER_HUB"])
c = get_config()
configure(c, HubSettings(**told["settings"]))
c.JupyterHub.hub_bind_url = f"http://{told['host']}:{told['settings']['hub_port']}"
c.JupyterHub.cleanup_servers = False  # a hub that is killed or replaced finds the pods again
c.JupyterHub.tornado_settings.update({"slow_spawn_timeout": 2})  # a start that takes longer has its page
spawner = c.KubernetesSpawner
spawner.namespace = told["namespace"]
spawner.image_pull_policy = "IfNotPresent"
spawner.image_seconds = 2.0
spawner.start_timeout = 300
spawner.http_timeout = 120
