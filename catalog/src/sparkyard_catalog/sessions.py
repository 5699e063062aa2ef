"""From a wish for a Spark session or batch to exactly what it gets. Nothing is granted by default.

A wish that goes beyond its profile is refused, never trimmed: the person reads which key, which profile, and what
would be granted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sparkyard_catalog import standing
from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.errors import Refused
from sparkyard_catalog.granted_image import Environment, ImageSpec, grant_image
from sparkyard_catalog.granted_spark_pod import SparkPods, spark_pods
from sparkyard_catalog.people import Person, default_profile_for, profiles_for, team_of
from sparkyard_catalog.places import plain_address, prefixes_for, under
from sparkyard_catalog.policy import granted_settings
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.spelling import brief, did_you_mean
from sparkyard_catalog.wishes import SIZE_KEYS, SessionChoices, Wishes, asked_twice

LIVY_KEYS = {
    "driver_memory": "driverMemory",
    "driver_cores": "driverCores",
    "executor_memory": "executorMemory",
    "executor_cores": "executorCores",
    "executors": "numExecutors",
    "driver_image": standing.DRIVER_IMAGE,
    "executor_image": standing.EXECUTOR_IMAGE,
    "idle_timeout": "idleTimeout",
    "lifetime": "ttl",
}
"""How a request of Livy's writes the choices, for the sentences that its sender reads."""

_DECIDED_APART = {
    *SIZE_KEYS.values(),
    standing.DRIVER_IMAGE,
    standing.EXECUTOR_IMAGE,
    standing.BOTH_IMAGES,
    standing.PROFILE,
}


@dataclass(frozen=True)
class SessionSpec:
    """Exactly what a Spark session gets. `conf` is complete: fixed settings, the user's, sizes and images."""

    profile: str
    profile_title: str
    team: str | None
    spark_version: str
    driver_image: ImageSpec
    executor_image: ImageSpec
    driver_memory: str
    driver_cores: int
    executor_memory: str
    executor_cores: int
    executors: int
    conf: dict[str, str]
    jars: tuple[str, ...]
    py_files: tuple[str, ...]
    files: tuple[str, ...]
    archives: tuple[str, ...]
    idle_timeout_seconds: float
    lifetime_seconds: float | None
    pods: SparkPods
    """What driver and executors are on Kubernetes."""
    file: str | None = None

    @property
    def environment(self) -> Environment | None:
        """What runs the driver on one machine; None where the catalog names nothing for its image."""
        return self.driver_image.environment


def resolve_session(catalog: Catalog, person: Person, request: SessionChoices) -> SessionSpec:
    """What a person's session gets; raises Refused."""
    return grant(catalog, person, request, LIVY_KEYS)


def grant(catalog: Catalog, person: Person, request: SessionChoices, keys: Mapping[str, str]) -> SessionSpec:
    """As `resolve_session`; `keys` is how the sender wrote each choice, for the sentences of a refusal."""
    profile = _profile(catalog, person, request)
    _check_our_decisions(person, profile, request)
    wishes = Wishes(profile, request, keys)
    driver, executor = profile.spark.driver, profile.spark.executor
    both = request.conf.get(standing.BOTH_IMAGES)
    team = team_of(catalog, person)
    driver_image = request.conf.get(standing.DRIVER_IMAGE, both)
    executor_image = request.conf.get(standing.EXECUTOR_IMAGE, both)
    spec = SessionSpec(
        profile=profile.name,
        profile_title=profile.title,
        team=team.name if team else None,
        spark_version=profile.spark.version,
        driver_image=grant_image(catalog, profile, driver, keys["driver_image"], driver_image),
        executor_image=grant_image(catalog, profile, executor, keys["executor_image"], executor_image),
        driver_memory=wishes.memory("driver_memory", driver.memory),
        driver_cores=wishes.number("driver_cores", driver.cores),
        executor_memory=wishes.memory("executor_memory", executor.memory),
        executor_cores=wishes.number("executor_cores", executor.cores),
        executors=wishes.number("executors", executor.count),
        conf=granted_settings(profile, {k: v for k, v in request.conf.items() if k not in _DECIDED_APART}),
        jars=_files(profile, person, "jars", request.jars),
        py_files=_files(profile, person, "pyFiles", request.py_files),
        files=_files(profile, person, "files", request.files),
        archives=_files(profile, person, "archives", request.archives),
        idle_timeout_seconds=wishes.time("idle_timeout", profile.sessions.idle_timeout) or 0,
        lifetime_seconds=wishes.time("lifetime", profile.sessions.lifetime),
        pods=spark_pods(catalog.nodes, profile, team),
        file=None if request.file is None else _files(profile, person, "file", (request.file,))[0],
    )
    spec.conf.update({key: str(getattr(spec, choice)) for choice, key in SIZE_KEYS.items()})
    spec.conf.update({standing.DRIVER_IMAGE: spec.driver_image.ref, standing.EXECUTOR_IMAGE: spec.executor_image.ref})
    return spec


def _profile(catalog: Catalog, person: Person, request: SessionChoices) -> Profile:
    named, in_conf = request.profile, request.conf.get(standing.PROFILE)
    if named is not None and in_conf is not None and named != in_conf:
        raise asked_twice("profile", None, named, in_conf)
    named = named if named is not None else in_conf
    mine = {profile.name: profile for profile in profiles_for(catalog, person)}
    if not mine:
        message = "No profile is open to you: you are in none of the groups that the catalog names; ask an admin."
        raise Refused("profile", None, message, "nothing")
    listed = ", ".join(mine)
    if named is None:
        if default := default_profile_for(catalog, person):
            return default
        raise Refused("profile", None, f"Several profiles are open to you; name one of them: {listed}.", listed)
    if not isinstance(named, str) or named not in mine:
        # The same sentence whether there is such a profile or not: what others may use is theirs to know.
        hint = did_you_mean(str(named), mine)
        guess = f" D{hint[1:]}" if hint.startswith("did") else ""
        message = f"Profile '{brief(named)}' is not open to you; yours: {listed}.{guess}"
        raise Refused("profile", None, message, listed)
    return mine[named]


def _check_our_decisions(person: Person, profile: Profile, request: SessionChoices) -> None:
    if request.proxy_user not in (None, "", person.name):
        message = f"proxyUser is always you in sessions of profile '{profile.name}'; leave it out."
        raise Refused("proxyUser", profile.name, message, person.name)
    if request.queue not in (None, "", "default"):
        message = f"queue is decided by profile '{profile.name}', which allows none of your choice; leave it out."
        raise Refused("queue", profile.name, message, "default")


def _files(profile: Profile, person: Person, key: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    prefixes = prefixes_for(person.name, profile.spark.files.allow)
    for address in addresses:
        if not isinstance(address, str) or not any(under(address, prefix) for prefix in prefixes):
            allowed = f"addresses under {', '.join(prefixes)}" if prefixes else "none"
            odd = isinstance(address, str) and not plain_address(address)
            why = ", because of a '..', a space or another character that no address here may hold" if odd else ""
            message = f"{key} '{brief(address)}' is not granted by profile '{profile.name}'{why}; it allows {allowed}."
            raise Refused(key, profile.name, message, allowed)
    return tuple(addresses)
