"""The catalog: images, profiles, teams and service accounts in one, as the admin's file has them.

These models *are* the format of catalog.yaml: their docstrings become its JSON Schema. What spans several entries (an
image that a profile names) is checked by `consistency`.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from sparkyard_catalog.consistency import inconsistencies
from sparkyard_catalog.entry import Entry, Group, Named, Slug, Title
from sparkyard_catalog.images import Image
from sparkyard_catalog.placement import DnsLabel
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.spark_pod import Nodes


class Team(Named):
    """People who work together: their leads see and stop the team's sessions, and use is summed by team."""

    title: Title
    """The name that people read."""
    groups: tuple[Group, ...] = Field(min_length=1)
    """The groups whose members are the team's. A person in several teams belongs to the first in the file."""
    leads: tuple[Group, ...] = ()
    """The groups whose members lead the team. They are of the team, also where they are in none of its groups."""
    namespace: DnsLabel | None = None
    """On Kubernetes: the namespace of the team's drivers and executors, which the chart must list in spark.namespaces;
    where absent, the gateway's own for Spark."""


class ServiceAccount(Named):
    """A pipeline that uses the gateway in its own name. It sees its own sessions alone, and leads nobody."""

    title: Title
    """What people read: which pipeline it is."""
    team: str
    """The name of the team that it belongs to: profiles that name the team are open to it, its use counts for the team,
    and the team's leads see and stop its sessions."""
    groups: tuple[Group, ...] = ()
    """The groups that it counts as a member of: profiles that name them are open to it too."""


class Catalog(Entry):
    """Sparkyard's catalog: images, profiles, teams, service accounts."""

    version: Literal[1] = 1
    """The version of this format."""
    groups: dict[Group, str] | None = None
    """Every group of the identity provider that the catalog uses, and what it is. Optional: where it is there, a group
    named elsewhere must be listed, so that a misspelt one is found."""
    images: dict[Slug, Image] = Field(min_length=1)
    """Images, by name."""
    profiles: dict[Slug, Profile] = Field(min_length=1)
    """Profiles, by name, in the order in which people see them."""
    default_profile: str | None = None
    """The profile of those who may use it and name none."""
    teams: dict[Slug, Team] = Field(default_factory=dict)
    """Teams, by name."""
    service_accounts: dict[Slug, ServiceAccount] = Field(default_factory=dict)
    """Service accounts, by name: each is a service of the hub of the same name, and is told apart by its token."""

    nodes: Nodes = Nodes()
    """On Kubernetes: how the cluster marks its nodes."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        for entries in (self.images, self.profiles, self.teams, self.service_accounts):
            for name, entry in entries.items():
                entry.named(name)
        context = info.context or {}
        self._folder = context.get("folder", self._folder)
        if not context.get("partial") and (found := list(inconsistencies(self))):
            raise ValueError("; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in found))
        return self

    @property
    def folder(self) -> Path:
        """The folder of the catalog's file, which relative paths start at."""
        return self._folder

    @property
    def all_groups(self) -> frozenset[str]:
        """Every group that gives somebody something: who is in none of these gets nothing (but see `everyone`)."""
        of_profiles = {group for profile in self.profiles.values() for group in profile.groups}
        of_teams = {group for team in self.teams.values() for group in (*team.groups, *team.leads)}
        return frozenset(of_profiles | of_teams)  # not those of service accounts: nobody signs in by them

    @property
    def open_to_everyone(self) -> bool:
        """Whether some profile may be used by everyone who can sign in."""
        return any(profile.everyone for profile in self.profiles.values())
