"""Notebook servers as pods: KubeSpawner, with the catalog in the place of its profile list.

KubeSpawner's own options are not used at all. Its validation lets a caller past it (``image--unlisted-choice``
without a ``profile`` is applied as it is), so nothing of it is called: what a pod gets is set here from the granted
spec (``pod.py``). KubeSpawner waits for a pod until the time is up; here the pod is watched meanwhile, so that a start
that can't succeed ends with a sentence and leaves nothing behind.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any, Final

from aiohttp import ClientError
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import Float, TraitError, Unicode, default, validate

from sparkyard_catalog import ServerSpec
from sparkyard_spawner.catalog_spawner import CatalogSpawnerMixin
from sparkyard_spawner.pod import Base, environment, pod_settings
from sparkyard_spawner.pod_trouble import TELL, Trouble, trouble_of, why_late, why_not_made
from sparkyard_spawner.pod_words import Event, Names, Pod, phase_of
from sparkyard_spawner.refusal import StartFailed

# The settings that a profile adds to; as the operator set them they are where each start begins.
_BASE: Final = (
    "node_selector",
    "tolerations",
    "extra_labels",
    "volumes",
    "volume_mounts",
    "init_containers",
    "extra_resource_limits",
    "pod_security_context",
    "extra_pod_config",
    "priority_class_name",
)
_LOG_LINES: Final = 15
_LOG_SECONDS: Final = 10.0


class KubernetesSpawner(CatalogSpawnerMixin, KubeSpawner):  # type: ignore[misc]
    """Starts a pod with what the catalog grants, and says why where none comes up."""

    _pvc_exists: bool  # KubeSpawner's: whether it has asked for a home

    home_path = Unicode("/home/jovyan", help="Where a person's home is mounted, in every notebook image.").tag(
        config=True
    )
    room_seconds = Float(120.0, help="How long a server waits for a node with room before its start is given up.").tag(
        config=True
    )
    image_seconds = Float(90.0, help="How long an image may fail to come before a start is given up.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        self._pod_uid: str | None = None
        super().__init__(**kwargs)
        self._operators = {name: getattr(self, name) for name in _BASE}

    @validate("profile_list")
    def _no_profile_list(self, proposal: dict[str, object]) -> object:
        if proposal["value"]:
            raise TraitError("KubernetesSpawner.profile_list is not used: profiles are in the catalog")
        return proposal["value"]

    @default("automount_service_account_token")
    def _default_automount_service_account_token(self) -> bool:
        return False

    @default("uid")
    def _default_uid(self) -> int:
        return 1000

    @default("gid")
    def _default_gid(self) -> int:
        return 1000

    @default("pvc_name_template")
    def _default_pvc_name_template(self) -> str:
        return "home-{username}"

    # What the pod gets

    async def load_user_options(self) -> None:
        """Set what the pod gets; KubeSpawner calls this as it starts. Raises ServerRefused or NoProfile."""
        spec = self.grant()
        for name, value in pod_settings(spec, self.user.name, self._base()).items():
            setattr(self, name, value)

    def _base(self) -> Base:
        operators = self._operators
        return Base(
            home=self.home_path,
            uid=int(self.uid),
            gid=int(self.gid),
            image_pull_policy=self.image_pull_policy,
            node_selector=operators["node_selector"],
            labels=operators["extra_labels"],
            devices=operators["extra_resource_limits"],
            pod_security=operators["pod_security_context"] or {},
            pod=operators["extra_pod_config"],
            priority_class=operators["priority_class_name"] or "",
            tolerations=self._sorted_dict_values(operators["tolerations"]),
            volumes=self._sorted_dict_values(operators["volumes"]),
            volume_mounts=self._sorted_dict_values(operators["volume_mounts"]),
            init_containers=self._sorted_dict_values(operators["init_containers"]),
        )

    def get_env(self) -> dict[str, str]:
        """JupyterHub's and the catalog's variables; the home is where the notebooks are."""
        env = super().get_env()
        if self.spec is not None:
            env |= environment(self.spec, self._base())
        return env | {"JUPYTERHUB_ROOT_DIR": self.home_path}

    # Starting

    def start(self) -> "asyncio.Future[str]":
        """Start the pod; the future ends with its address or with the reason why there is none."""
        self._pod_uid = None
        self._start_future: asyncio.Future[str] = asyncio.ensure_future(self._explained_start())
        return self._start_future

    async def _explained_start(self) -> str:
        had_home = self._pvc_exists
        # Asked for anew, which KubeSpawner does once: an administrator may have deleted it since.
        self._pvc_exists = False
        starting = asyncio.ensure_future(self._start())
        watching = asyncio.ensure_future(self._watch())
        try:
            return await self._first(starting, watching)
        except BaseException:
            if self.spec is not None:  # else nothing was begun: the choice was refused
                await self._leave_nothing(starting, had_home=had_home)
            raise
        finally:
            for task in (starting, watching):
                task.cancel()

    async def _first(self, starting: "asyncio.Future[str]", watching: "asyncio.Future[Trouble]") -> str:
        """Where the server is, as soon as it runs; StartFailed as soon as it is known that it won't."""
        limit = self.start_timeout - min(20.0, self.start_timeout / 4)  # JupyterHub's own limit can't say why
        both: set[asyncio.Future[Any]] = {starting, watching}
        await asyncio.wait(both, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            return await self._explained(starting)
        if watching.done():
            raise await self._failure(watching.result())
        late = why_late(self._own_pod(), self._own_events(), self._names())
        raise StartFailed(f"Your server did not start within {limit:.0f} seconds. {late}")

    async def _explained(self, starting: "asyncio.Future[str]") -> str:
        try:
            return await starting
        except ApiException as error:
            raise StartFailed(why_not_made(error.status, error.body)) from error
        except (ClientError, OSError) as error:
            # TimeoutError is an OSError: KubeSpawner has tried for as long as it is set to.
            if self._own_pod() is not None:
                late = why_late(self._own_pod(), self._own_events(), self._names())
                raise StartFailed(f"Your server did not start. {late}") from error
            raise StartFailed(f"The cluster does not answer, so your server could not be started. {TELL}") from error

    async def _watch(self) -> Trouble:
        """Return once something keeps the pod from starting for longer than that may last."""
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.5)
            pod = self._own_pod()
            trouble = trouble_of(pod, self._own_events(), self._names()) if pod is not None else None
            if trouble is None:
                since = {}
                continue
            since = {trouble.lasting: since.get(trouble.lasting, monotonic())}
            patience = {"final": 0.0, "room": self.room_seconds, "image": self.image_seconds}[trouble.lasting]
            if monotonic() - since[trouble.lasting] >= patience:
                return trouble

    async def _failure(self, trouble: Trouble) -> StartFailed:
        lines = await self._last_lines(trouble.container) if trouble.container else ()
        self.log.warning("The pod %s of %s does not start: %s", self.pod_name, self.user.name, trouble.message)
        return StartFailed(trouble.message, log_lines=lines)

    async def _last_lines(self, container: str) -> tuple[str, ...]:
        """The end of a container's log for its user; nothing where the hub may not read it."""
        read = self.api.read_namespaced_pod_log(
            self.pod_name, self.namespace, container=container, tail_lines=_LOG_LINES, limit_bytes=16_384
        )
        try:
            text: str = await asyncio.wait_for(read, _LOG_SECONDS)
        except (ApiException, ClientError, OSError) as error:
            self.log.info("The log of %s/%s can't be read: %s", self.pod_name, container, type(error).__name__)
            return ()
        return tuple(text.replace(self.api_token, "[secret]").splitlines()) if self.api_token else ()

    async def _leave_nothing(self, starting: "asyncio.Future[str]", *, had_home: bool) -> None:
        """Take back what this start made: the pod, and a home that no volume was ever found for."""
        starting.cancel()
        await asyncio.wait({starting})  # so that it makes no pod after this
        try:
            await self.stop(now=True)
            if not had_home and self._pvc_exists:
                await self._forget_unbound_home()
        except (ApiException, ClientError, OSError) as error:
            # JupyterHub tries to stop it once more.
            self.log.error("The pod %s could not be taken back: %s", self.pod_name, type(error).__name__)  # noqa: TRY400

    async def _forget_unbound_home(self) -> None:
        claim = await self.api.read_namespaced_persistent_volume_claim(self.pvc_name, self.namespace)
        if claim.status.phase == "Pending":
            await self.api.delete_namespaced_persistent_volume_claim(self.pvc_name, self.namespace)
            self._pvc_exists = False

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """As KubeSpawner's, which logs the whole pod where that fails: its environment holds the server's token."""
        try:
            made = await asyncio.wait_for(self.api.create_namespaced_pod(self.namespace, pod), request_timeout)
        except TimeoutError:
            return False
        except ApiException as error:
            if error.status != 409:
                raise
            self.log.info("There is a pod %s already; it is ended first", self.pod_name)
            await self.stop(now=True)
            return False
        self._pod_uid = made.metadata.uid
        return True

    # While it starts

    def _own_pod(self) -> Pod | None:
        """The pod that this start made: one of the same name that is just ending is not it."""
        if self._pod_uid is None or self.pod_reflector is None:
            return None
        pod: Pod | None = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return pod if pod is not None and pod["metadata"]["uid"] == self._pod_uid else None

    def _own_events(self) -> Sequence[Event]:
        return [event for event in self.events if event["involvedObject"].get("uid") == self._pod_uid]

    def _names(self) -> Names:
        return _names(self.spec)

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the start is doing, once a second and at each change; JupyterHub ends the loop with the start."""
        shown: tuple[str, int] | None = None
        message, since, percent = "", monotonic(), 0
        while True:
            phase = phase_of(self._own_pod(), self._own_events(), self._names())
            if phase.message != message:
                message, since = phase.message, monotonic()
            percent = max(percent, phase.percent)
            seconds = int(monotonic() - since)
            if (message, seconds) != shown:
                shown = (message, seconds)
                text = f"{message} ({seconds} s)" if seconds else message
                yield {"progress": percent, "message": text, "phase": message}
            await asyncio.sleep(0.2)


def _names(spec: ServerSpec | None) -> Names:
    if spec is None:
        return Names({}, {})
    images = {step.image.ref: step.image.title for step in spec.pod.steps}
    return Names(images | {spec.image.ref: spec.image.title}, {step.name: step.title for step in spec.pod.steps})
