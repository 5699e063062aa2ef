"""What one person would get, for the admin who asks: in words, and as data."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.granted_image import allowed_images
from sparkyard_catalog.people import Person, default_profile_for, profiles_for, team_of, teams_led_by
from sparkyard_catalog.profiles import Process, Profile
from sparkyard_catalog.servers import resolve_server
from sparkyard_catalog.sizes import Memory, Number, Timeout


def as_data(catalog: Catalog, person: Person, profiles: tuple[Profile, ...]) -> dict[str, Any]:
    """Everything that is known about what a person gets from these profiles."""
    default = default_profile_for(catalog, person)
    team = team_of(catalog, person)
    return {
        "user": person.name,
        "groups": sorted(person.groups),
        "admin": person.admin,
        "team": team.name if team else None,
        "leads": [led.name for led in teams_led_by(catalog, person)],
        "default_profile": default.name if default else None,
        "profiles": [
            {
                "name": profile.name,
                "server": asdict(resolve_server(catalog, person, {"profile": profile.name})),
                "grants": profile.model_dump(mode="json"),
            }
            for profile in profiles
        ],
    }


def as_text(catalog: Catalog, person: Person, profiles: tuple[Profile, ...]) -> str:
    """The same, to be read."""
    return "\n".join([*_who(catalog, person), *(line for profile in profiles for line in _profile(catalog, profile))])


def _who(catalog: Catalog, person: Person) -> Iterator[str]:
    team = team_of(catalog, person)
    led = ", ".join(team.name for team in teams_led_by(catalog, person))
    default = default_profile_for(catalog, person)
    names = ", ".join(profile.name for profile in profiles_for(catalog, person))
    yield f"{person.name}{', an admin,' if person.admin else ''} in {', '.join(sorted(person.groups)) or 'no group'}"
    yield f"  team              {team.name if team else 'none'}{f'; leads {led}' if led else ''}"
    yield f"  profiles          {names or 'none: no profile names one of these groups, so nothing can be started'}"
    if names:
        yield f"  without a choice  {default.name if default else 'refused: sessions must name a profile'}"


def _profile(catalog: Catalog, profile: Profile) -> Iterator[str]:
    notebook, spark = profile.notebook, profile.spark
    image = catalog.images[notebook.image]
    yield ""
    yield f"{profile.name}: {profile.title}{f'. {profile.description}' if profile.description else ''}"
    yield f"  notebook          {notebook.image} ({image.ref})"
    cpu, memory = notebook.cpu, notebook.memory
    yield f"                    CPU {cpu.guarantee:g} to {cpu.limit:g}, memory {memory.guarantee} to {memory.limit}"
    yield f"  Spark             {spark.version}"
    yield from _process("driver", spark.driver)
    yield from _process("executors", spark.executor)
    yield f"                    {_size(spark.executor.count, 'executor')}"
    yield from _settings("settings", spark.conf)
    yield from _settings("may change", {key: rule.allowed for key, rule in spark.user_conf.items()})
    yield f"  files from        {', '.join(spark.files.allow) or 'nowhere: sessions may name no files'}"
    lifetime = profile.sessions.lifetime
    ends = f"idle for {_time(profile.sessions.idle_timeout)}"
    yield f"  sessions end      {ends}{f', or after {_time(lifetime)}' if lifetime else ''}"


def _process(title: str, process: Process) -> Iterator[str]:
    yield f"  {title:<17} image {allowed_images(process)}"
    yield f"                    {_size(process.cores, 'core')}, memory {_memory(process.memory)} each"


def _settings(title: str, settings: Mapping[str, str]) -> Iterator[str]:
    width = max((len(key) for key in settings), default=0)
    for number, (key, value) in enumerate(settings.items()):
        yield f"  {title if number == 0 else '':<17} {key:<{width}}  {value}"
    if not settings:
        yield f"  {title:<17} none"


def _size(size: Number, noun: str) -> str:
    plural = "" if size.default == 1 else "s"
    return f"{size.default} {noun}{plural}{f' (up to {size.max})' if size.max > size.default else ''}"


def _memory(size: Memory) -> str:
    return f"{size.default} ({size.allowed})"


def _time(timeout: Timeout) -> str:
    return f"{timeout.default}{f' (up to {timeout.max})' if timeout.max != timeout.default else ''}"
