"""Notebook servers as pods: KubeSpawner, with the catalog in the place of its profile list.

KubeSpawner's own options are not used at all. Its validation lets a caller past it (``image--unlisted-choice``
without a ``profile`` is applied as it is), so nothing of it is called: what a pod gets is set here from the granted
spec.
"""

from kubespawner import KubeSpawner
from traitlets import TraitError, default, validate

from sparkyard_spawner.catalog_spawner import CatalogSpawnerMixin


class KubernetesSpawner(CatalogSpawnerMixin, KubeSpawner):  # type: ignore[misc]
    """Starts a pod with the image and the size that the catalog grants."""

    @validate("profile_list")
    def _no_profile_list(self, proposal: dict[str, object]) -> object:
        if proposal["value"]:
            raise TraitError("KubernetesSpawner.profile_list is not used: profiles are in the catalog")
        return proposal["value"]

    @default("automount_service_account_token")
    def _default_automount_service_account_token(self) -> bool:
        return False

    async def load_user_options(self) -> None:
        """Set what the pod gets; KubeSpawner calls this as it starts. Raises ServerRefused or NoProfile."""
        spec = self.grant()
        self.image = spec.image.ref
        self.cpu_guarantee, self.cpu_limit = spec.cpu_guarantee, spec.cpu_limit
        self.mem_guarantee, self.mem_limit = spec.memory_guarantee, spec.memory_limit
