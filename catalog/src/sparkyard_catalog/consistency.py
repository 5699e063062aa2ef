"""What a catalog says in several places, checked against each other: names that must exist, and versions that agree."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from sparkyard_catalog.images import Image
from sparkyard_catalog.profiles import Process, Profile, Spark
from sparkyard_catalog.rules import why_unfit
from sparkyard_catalog.spelling import brief, did_you_mean
from sparkyard_catalog.standing import Standing, standing_of

if TYPE_CHECKING:
    from sparkyard_catalog.catalog import Catalog  # which calls this module

Place = tuple[str | int, ...]


Finding = tuple[Place, str]
Names = Mapping[str, Collection[str]]


def inconsistencies(catalog: "Catalog", broken: Names | None = None) -> Iterator[Finding]:
    """Each contradiction, with its place in the file.

    `broken` names, by section, entries that are in the file but could not be read: they are known, and no more.
    """
    broken = broken or {}
    for name, profile in catalog.profiles.items():
        at = ("profiles", name)
        yield from _groups(catalog, profile.groups, (*at, "groups"))
        yield from _teams(catalog, profile, at, broken)
        yield from _image(catalog, profile.notebook.image, (*at, "notebook", "image"), "notebook", broken)
        yield from _pod(catalog, profile, (*at, "notebook", "pod"), broken)
        yield from _process_images(catalog, profile, at, broken)
        yield from _rules(profile.spark, (*at, "spark"))
    for name, team in catalog.teams.items():
        yield from _groups(catalog, team.groups, ("teams", name, "groups"))
        yield from _groups(catalog, team.leads, ("teams", name, "leads"))
    for name, account in catalog.service_accounts.items():
        yield from _groups(catalog, account.groups, ("service_accounts", name, "groups"))
        yield from _team(catalog, account.team, ("service_accounts", name, "team"), broken)
    if catalog.default_profile is not None:
        known = {*catalog.profiles, *broken.get("profiles", ())}
        if catalog.default_profile not in known:
            hint = did_you_mean(catalog.default_profile, known)
            yield ("default_profile",), f"there is no profile '{catalog.default_profile}'; {hint}"


def _teams(catalog: "Catalog", profile: Profile, at: Place, broken: Names) -> Iterator[Finding]:
    for index, team in enumerate(profile.teams):
        yield from _team(catalog, team, (*at, "teams", index), broken)


def _team(catalog: "Catalog", team: str, at: Place, broken: Names) -> Iterator[Finding]:
    known = {*catalog.teams, *broken.get("teams", ())}
    if team not in known:
        yield at, f"there is no team '{team}'; {did_you_mean(team, known)}"


def _pod(catalog: "Catalog", profile: Profile, at: Place, broken: Names) -> Iterator[Finding]:
    for index, step in enumerate(profile.notebook.pod.init):
        if step.image is not None:
            yield from _image(catalog, step.image, (*at, "init", index, "image"), None, broken)
    for index, shared in enumerate(profile.notebook.pod.shared):
        place = (*at, "shared", index)
        yield from _groups(catalog, shared.groups, (*place, "groups"))
        for number, team in enumerate(shared.teams):
            yield from _team(catalog, team, (*place, "teams", number), broken)


def _process_images(catalog: "Catalog", profile: Profile, at: Place, broken: Names) -> Iterator[Finding]:
    spark = profile.spark
    processes: tuple[tuple[str, Process], ...] = (("driver", spark.driver), ("executor", spark.executor))
    for key, process in processes:
        names: list[tuple[Place, str]] = [(("image",), process.image)]
        names += [(("choices", index), name) for index, name in enumerate(process.choices)]
        for part, name in names:
            place = (*at, "spark", key, *part)
            yield from _image(catalog, name, place, "spark", broken)
            image = catalog.images.get(name)
            if image and image.spark and not _same_version(image, spark.version):
                has = f"image '{name}' has Spark {image.spark} and the profile gives {spark.version}"
                yield place, f"{has}; name an image of that version or change spark.version"


def _rules(spark: Spark, at: Place) -> Iterator[Finding]:
    for key, rule in spark.user_conf.items():
        verdict = standing_of(key)
        if verdict.standing is Standing.EXACT and not rule.limits:
            what = "say which values are fine (integer, memory, one_of, pattern ...)"
            yield (*at, "user_conf", key), f"the rule 'any' can't open this key, because it {verdict.reason}; {what}"
    for key, value in spark.conf.items():
        if any(character in value for character in "\n\r\0"):
            yield (*at, "conf", key), "a Spark setting is one line; remove the line break"
        own = spark.user_conf.get(key)
        if own is not None and not (own.grants(value) and why_unfit(value) is None):
            message = f"'{brief(value)}' is not what user_conf allows here ({own.allowed}); change one of them"
            yield (*at, "conf", key), message


def _groups(catalog: "Catalog", groups: tuple[str, ...], at: Place) -> Iterator[Finding]:
    if catalog.groups is None:
        return
    for index, group in enumerate(groups):
        if group not in catalog.groups:
            yield (*at, index), (f"group '{group}' is not listed under groups; {did_you_mean(group, catalog.groups)}")


def _image(catalog: "Catalog", name: str, at: Place, kind: str | None, broken: Names) -> Iterator[Finding]:
    """`kind` is what the image must be; None takes any."""
    image = catalog.images.get(name)
    unread = broken.get("images", ())
    if image is not None and kind is not None and image.kind != kind:
        fitting = [other for other, candidate in catalog.images.items() if candidate.kind == kind]
        yield at, f"image '{name}' is of kind {image.kind}, and {kind} is needed; known: {', '.join(fitting) or 'none'}"
    elif image is None and name not in unread:
        yield at, f"there is no image '{name}'; {did_you_mean(name, {*catalog.images, *unread})}"


def _same_version(image: Image, version: str) -> bool:
    """3.5 and 3.5.9 agree, 3.5.1 and 3.5.9 do not."""
    pairs = zip((image.spark or "").split("."), version.split("."), strict=False)
    return all(mine == theirs for mine, theirs in pairs)
