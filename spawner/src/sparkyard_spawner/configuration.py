"""The hub's configuration of our spawners, as functions that take ``c``.

What both spawners share is in ``configure_spawner``; what only a machine of one's own needs is in
``configure_local``, what only a cluster needs in ``configure_kubernetes``. The hub package calls them; nothing else of
the spawners has to be known there.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from traitlets.config import Config

OptionsForm = Callable[[Any], str | Awaitable[str]]


def configure_spawner(
    c: Config,
    *,
    catalog: Path,
    gateway_url: str,
    options_form: OptionsForm,
    gateway_public_path: str = "/services/gateway",
    contact: str = "your administrator",
) -> None:
    """Tell every catalog spawner where its catalog and its gateway are, and which page asks for the choices.

    ``options_form`` renders the profile page's form from the spawner (``sparkyard_hub.profile_page.render_form``).
    ``gateway_url`` is what kernels call directly; ``gateway_public_path`` is the same service as a browser sees it.
    """
    c.CatalogSpawnerMixin.catalog_path = str(catalog)
    c.CatalogSpawnerMixin.gateway_url = gateway_url
    c.CatalogSpawnerMixin.gateway_public_path = gateway_public_path
    c.CatalogSpawnerMixin.contact = contact
    c.Spawner.options_form = options_form
    c.Spawner.default_url = "/lab"


def configure_local(
    c: Config,
    *,
    users: Path,
    logs: Path,
    examples: Path | None = None,
    supervisor_pid: int = 0,
) -> None:
    """Run each server as a process on this machine.

    ``users`` holds the homes, ``logs`` one log file per server. With ``supervisor_pid`` the servers end when that
    process ends, however
    it ended; without it they outlive a restart of the hub and only the hub ends them.
    """
    c.JupyterHub.spawner_class = "sparkyard_spawner.LocalSpawner"
    c.LocalSpawner.users_dir = str(users)
    c.LocalSpawner.logs_dir = str(logs)
    c.LocalSpawner.examples_dir = str(examples) if examples else ""
    c.LocalSpawner.supervisor_pid = supervisor_pid
    c.Spawner.poll_interval = 5


def configure_kubernetes(
    c: Config,
    *,
    home_path: str,
    home_size: str,
    home_storage_class: str | None,
    uid: int,
    gid: int,
    room_seconds: float,
) -> None:
    """Run each server as a pod. What is KubeSpawner's own (namespace, pull secrets ...) stays the deployment's.

    These settings are of our class, so they win over what a chart has set of KubeSpawner's.
    """
    c.JupyterHub.spawner_class = "sparkyard_spawner.kubernetes.KubernetesSpawner"
    ours = c.KubernetesSpawner
    ours.home_path = ours.working_dir = home_path
    ours.storage_pvc_ensure = True
    ours.storage_capacity = home_size
    if home_storage_class is not None:
        ours.storage_class = home_storage_class
    ours.storage_access_modes = ["ReadWriteOnce"]
    ours.pvc_name_template = "home-{username}"
    ours.delete_pvc = False  # who deletes a user does not mean the work of years
    ours.uid, ours.gid, ours.fs_gid = uid, gid, gid
    ours.room_seconds = room_seconds
    ours.profile_list = []
    ours.automount_service_account_token = False
    ours.allow_privilege_escalation = False
    ours.privileged = False
