"""What the profile page shows, worked out from the catalog without a line of HTML.

- A *card* is one profile that the person may use: what it gives, and a radio button.
- A *fact* is something the profile settles; a *field* is something it leaves to the person, within the catalog's
  caps.
- A *notice* tells of something that is no fault of the person's: the last choice is no longer granted.
- An *error* belongs to the field whose value was refused. JupyterHub itself shows every refusal above the form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sparkyard_catalog import Catalog, Person, Profile, profiles_for
from sparkyard_catalog.profiles import Driver, Executor, OwnImages, Process
from sparkyard_catalog.sizes import Memory, Number
from sparkyard_spawner.choices import OWN_IMAGE, field_name
from sparkyard_spawner.refusal import ServerRefused


@dataclass(frozen=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Field:
    """Something the person may set. ``kind`` is "number", "memory", "image" (a list) or "own_image" (a text)."""

    kind: str
    name: str
    label: str
    hint: str
    value: str
    error: str = ""
    changed: bool = False  # it holds something else than the profile's default
    minimum: int = 1
    maximum: int = 1
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Fact:
    """Something the profile gives."""

    label: str
    value: str


@dataclass(frozen=True)
class Section:
    """The fields of the driver or of the executors."""

    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Card:
    """One profile on the page."""

    name: str
    title: str
    description: str
    chosen: bool
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    opened: bool  # the fields are shown at once: one has an error or differs from the profile's default


@dataclass(frozen=True)
class CatalogTrouble:
    """What administrators read when the catalog file is refused and the one read at ``since`` stays in force."""

    lines: tuple[str, ...]
    since: datetime


@dataclass(frozen=True)
class ProfilePage:
    """The whole page."""

    cards: tuple[Card, ...]
    is_last_choice: bool
    notice: str = ""


def profile_page(
    catalog: Catalog,
    person: Person,
    *,
    chosen: Mapping[str, object],
    refusal: ServerRefused | None = None,
    outdated: str = "",
    is_last_choice: bool = False,
) -> ProfilePage:
    """The page for a person: ``chosen`` options filled in and, where they were refused, the refusal by its field."""
    profiles = profiles_for(catalog, person)
    names = [profile.name for profile in profiles]
    wanted = chosen.get("profile")
    if wanted not in names:
        wanted = catalog.default_profile if catalog.default_profile in names else names[0]
        chosen, refusal = {}, None  # what was asked for belongs to no card on this page
    cards = tuple(
        _card(_Fields(catalog, profile, chosen, refusal), chosen=True)
        if profile.name == wanted
        else _card(_Fields(catalog, profile, {}, None), chosen=False)
        for profile in profiles
    )
    return ProfilePage(cards=cards, is_last_choice=is_last_choice, notice=outdated)


def defaults(profile: Profile) -> dict[str, object]:
    """The options of a profile where a person chooses nothing."""
    driver, executor = profile.spark.driver, profile.spark.executor
    return {
        "driver_image": driver.image,
        "driver_cores": driver.cores.default,
        "driver_memory": driver.memory.default,
        "executor_image": executor.image,
        "executor_cores": executor.cores.default,
        "executor_memory": executor.memory.default,
        "executors": executor.count.default,
    }


def _card(fields: "_Fields", *, chosen: bool) -> Card:
    profile, title_of = fields.profile, fields.image_title
    driver, executor, notebook = profile.spark.driver, profile.spark.executor, profile.notebook
    size = f"{_cpus(notebook.cpu.limit)}, {memory_words(notebook.memory.limit)}"
    both = (Section("Driver", fields.of_driver(driver)), Section("Executors", fields.of_executor(executor)))
    return Card(
        name=profile.name,
        title=profile.title,
        description=profile.description,
        chosen=chosen,
        facts=(
            Fact("Notebook", f"{title_of(notebook.image)}, {size}"),
            Fact("Spark", _spark(profile, title_of)),
            Fact("Driver", _process(driver)),
            Fact("Executors", f"{executor.count.default}, each {_process(executor)}"),
        ),
        sections=tuple(section for section in both if section.fields),
        opened=any(field.error or field.changed for section in both for field in section.fields),
    )


@dataclass(frozen=True)
class _Fields:
    """Makes the fields of one profile."""

    catalog: Catalog
    profile: Profile
    options: Mapping[str, object]
    refusal: ServerRefused | None

    def of_driver(self, driver: Driver) -> tuple[Field, ...]:
        return (
            *self._images("driver_image", "Image", driver),
            *self._number("driver_cores", "Cores", driver.cores),
            *self._memory("driver_memory", "Memory", driver.memory),
        )

    def of_executor(self, executor: Executor) -> tuple[Field, ...]:
        return (
            *self._images("executor_image", "Image", executor),
            *self._number("executors", "Executors", executor.count),
            *self._number("executor_cores", "Cores of each", executor.cores),
            *self._memory("executor_memory", "Memory of each", executor.memory),
        )

    def _number(self, key: str, label: str, number: Number) -> tuple[Field, ...]:
        if number.max == 1:
            return ()
        return (
            Field(
                kind="number",
                name=field_name(self.profile.name, key),
                label=label,
                hint=f"1 to {number.max}, normally {number.default}",
                value=self._value(key, number.default),
                error=self._error(key),
                changed=self._changed(key, number.default),
                maximum=number.max,
            ),
        )

    def _memory(self, key: str, label: str, memory: Memory) -> tuple[Field, ...]:
        if memory.min == memory.max:
            return ()
        return (
            Field(
                kind="memory",
                name=field_name(self.profile.name, key),
                label=label,
                hint=f"{memory.min} to {memory.max}, normally {memory.default}",
                value=self._value(key, memory.default),
                error=self._error(key),
                changed=self._changed(key, memory.default),
            ),
        )

    def _images(self, key: str, label: str, process: Process) -> tuple[Field, ...]:
        value = self._value(key, process.image)
        listed = value in process.images
        fields = []
        if len(process.images) > 1 or process.own_images is not None:
            choices = tuple(
                Choice(name, self.image_label(name), name == (value if listed else process.image))
                for name in process.images
            )
            fields.append(
                Field(
                    kind="image",
                    name=field_name(self.profile.name, key),
                    label=label,
                    hint="" if process.own_images is None else "Or name an image of your own below.",
                    value=value,
                    error="" if process.own_images is not None and not listed else self._error(key),
                    changed=self._changed(key, process.image),
                    choices=choices,
                )
            )
        if process.own_images is not None:
            fields.append(
                Field(
                    kind="own_image",
                    name=field_name(self.profile.name, key) + OWN_IMAGE,
                    label=f"{label} of your own",
                    hint=own_images_rule(process.own_images),
                    value="" if listed else value,
                    error="" if listed else self._error(key),
                )
            )
        return tuple(fields)

    def _value(self, key: str, default: object) -> str:
        """What was entered, as text; whatever it is, so that a person finds again what they wrote."""
        return str(self.options.get(key, default))

    def _changed(self, key: str, default: object) -> bool:
        return self.options.get(key, default) != default

    def image_title(self, name: str) -> str:
        return self.catalog.images[name].title or name

    def image_label(self, name: str) -> str:
        image = self.catalog.images[name]
        return f"{image.title} ({name})" if image.title else name

    def _error(self, key: str) -> str:
        return self.refusal.message if self.refusal is not None and self.refusal.key == key else ""


def own_images_rule(own: OwnImages) -> str:
    """Which images of their own a person may name, in words."""
    prefixes = " or ".join(f"{prefix}/" for prefix in own.prefixes)
    pinned = (
        " and must be pinned: end with @sha256: and the 64 digits of its digest" if own.digest == "required" else ""
    )
    return f"It must lie under {prefixes}{pinned}. Leave it empty to use the image chosen above."


def memory_words(amount: str) -> str:
    """An amount of memory for a reader: 2g and 2Gi are both 2 GiB."""
    number = amount.rstrip("BbIiKkMmGgTt")
    unit = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}.get(amount[len(number) :].lower()[:1], "bytes")
    return f"{number} {unit}"


def _spark(profile: Profile, title_of: Callable[[str], str]) -> str:
    driver, executor = title_of(profile.spark.driver.image), title_of(profile.spark.executor.image)
    images = driver if driver == executor else f"driver {driver}, executors {executor}"
    return images if profile.spark.version in images else f"{profile.spark.version}, {images}"


def _process(process: Process) -> str:
    cores = process.cores.default
    return f"{cores} {'core' if cores == 1 else 'cores'}, {memory_words(process.memory.default)}"


def _cpus(limit: float) -> str:
    return f"{limit:g} {'CPU' if limit == 1 else 'CPUs'}"
