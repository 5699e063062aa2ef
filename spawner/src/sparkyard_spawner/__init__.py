"""Sparkyard's spawners: notebook servers from the catalog, every option judged by it.

For the hub's configuration::

    from sparkyard_spawner import configure_kubernetes, configure_local, configure_spawner

    configure_spawner(c, catalog=..., gateway_url=..., options_form=sparkyard_hub.profile_page.render_form)
    configure_local(c, users=..., logs=..., examples=..., supervisor_pid=os.getpid())

``configure_spawner`` serves every spawner, ``configure_local`` one machine, ``configure_kubernetes`` a cluster; its
class is in ``sparkyard_spawner.kubernetes`` and needs the extra ``kubernetes``. Scopes of the server's token are the
hub's business.
"""

from sparkyard_spawner.catalog_spawner import CatalogSpawnerMixin, catalog_file
from sparkyard_spawner.configuration import configure_kubernetes, configure_local, configure_spawner
from sparkyard_spawner.home import folder_name, make_home
from sparkyard_spawner.local import LocalSpawner, why_shared_uid
from sparkyard_spawner.page import ProfilePage
from sparkyard_spawner.refusal import NoProfile, ServerRefused, StartFailed

__all__ = [
    "CatalogSpawnerMixin",
    "LocalSpawner",
    "NoProfile",
    "ProfilePage",
    "ServerRefused",
    "StartFailed",
    "catalog_file",
    "configure_kubernetes",
    "configure_local",
    "configure_spawner",
    "folder_name",
    "make_home",
    "why_shared_uid",
]
