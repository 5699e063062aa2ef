"""Profiles: what a person picks at login, and everything that follows from it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry, Group, Named, Plain, Title
from sparkyard_catalog.images import Version
from sparkyard_catalog.notebook_pod import NotebookPod
from sparkyard_catalog.places import UrlPrefix
from sparkyard_catalog.references import RegistryPrefix
from sparkyard_catalog.rules import Rule
from sparkyard_catalog.settings import FixedKey, OpenedKey
from sparkyard_catalog.sizes import CpuShare, Memory, MemoryShare, Number, Timeout
from sparkyard_catalog.spark_pod import Dynamic, SparkPod


class Notebook(Entry):
    """The notebook server of a profile."""

    image: str
    """The name of an image of kind notebook."""
    cpu: CpuShare
    """The CPU of the notebook server."""
    memory: MemoryShare
    """The memory of the notebook server."""
    pod: NotebookPod = NotebookPod()
    """On Kubernetes: where its pod runs, what it mounts, what happens before it starts."""


class OwnImages(Entry):
    """Images of the users' own, which the catalog does not list."""

    prefixes: tuple[RegistryPrefix, ...] = Field(min_length=1)
    """The registry and path that such an image must lie under, such as registry.example.com/data-science/."""
    digest: Literal["required", "optional"] = "required"
    """Whether the image must be pinned by @sha256:digest, so that it can't change behind its name."""


class Process(Entry):
    """What Spark's driver and its executors have in common."""

    image: str
    """The name of an image of kind spark: what is used where the user chooses none."""
    choices: tuple[str, ...] = ()
    """The names of further images that a user may take instead."""
    own_images: OwnImages | None = None
    """Which images of their own users may take; none where absent."""
    cores: Number
    """Cores of each process."""
    memory: Memory
    """Memory of each process (the JVM's heap)."""
    pod: SparkPod = SparkPod()
    """On Kubernetes: where its pod runs, and what it mounts."""

    @property
    def images(self) -> tuple[str, ...]:
        """The names of every image that a user may take, the default first."""
        return (self.image, *(name for name in self.choices if name != self.image))


class Driver(Process):
    """Spark's driver: the one process that runs the notebook's code."""


class Executor(Process):
    """Spark's executors: the processes that do the work."""

    count: Number
    """How many executors a session has."""
    dynamic: Dynamic | None = None
    """On Kubernetes: whether executors come and go with the work; absent, a session keeps all of its executors."""


class Files(Entry):
    """Where what a session or batch names may come from: jars, Python files, files, archives, and a batch's file."""

    allow: tuple[UrlPrefix, ...] = ()
    """Prefixes by whole path components, such as s3a://team-bucket/libraries/. Empty: a session may name none.
    home:// is the home folder of whoever asks, and {user} a folder of their name: s3a://team-bucket/people/{user}/."""


class Spark(Entry):
    """The Spark sessions of a profile."""

    version: Version
    """The version of Spark that the profile gives, such as "3.5"; its images must have it."""
    driver: Driver
    """The driver."""
    executor: Executor
    """The executors."""
    conf: dict[FixedKey, Plain] = Field(default_factory=dict)
    """Spark settings that every session of the profile gets. Fixed, unless user_conf has a rule for the very key."""
    user_conf: dict[OpenedKey, Rule] = Field(default_factory=dict)
    """The Spark settings that users may change, each with its rule. A key may end in .* (spark.sql.*)."""
    files: Files = Files()
    """Where files that a session names may come from."""


class Sessions(Entry):
    """How long the Spark sessions of a profile live."""

    idle_timeout: Timeout = Timeout(default="1h", max="12h")
    """A session that ran nothing for this long is ended."""
    lifetime: Timeout | None = None
    """A session is ended this long after its start, whatever it does; absent: no such end."""
    warm: Annotated[int, Field(strict=True, ge=0, le=50)] = 0
    """How many drivers with the profile's defaults each gateway keeps started, for sessions that ask for nothing else.
    Each takes its memory while it waits; fewer are kept while memory is short."""


class Profile(Named):
    """What a person picks at login: a notebook server, and the Spark sessions that it may start."""

    title: Title
    """The name that people read."""
    description: str = ""
    """A sentence or two: what it is good for."""
    everyone: bool = Field(default=False, strict=True)
    """Whether everyone who can sign in may use it."""
    groups: tuple[Group, ...] = ()
    """The groups, as the identity provider names them, whose members may use it."""
    teams: tuple[str, ...] = ()
    """The names of teams whose members may use it."""
    notebook: Notebook
    """The notebook server."""
    spark: Spark
    """The Spark sessions."""
    sessions: Sessions = Sessions()
    """How long Spark sessions live."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.everyone or self.groups or self.teams):
            raise PydanticCustomError("nobody", "nobody may use it; add groups, teams, or everyone: true")
        return self
