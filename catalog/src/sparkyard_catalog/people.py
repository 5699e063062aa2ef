"""People: who asks, which profiles they may use, and which team they belong to."""

from dataclasses import dataclass

from sparkyard_catalog.catalog import Catalog, Team
from sparkyard_catalog.profiles import Profile


@dataclass(frozen=True)
class Person:
    """Someone who asks: the groups are the identity provider's, as they are now."""

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False


def may_use(catalog: Catalog, person: Person, profile: Profile) -> bool:
    """Whether a person may use a profile. Admins may use all of them, within the same caps."""
    if person.admin or profile.everyone or not person.groups.isdisjoint(profile.groups):
        return True
    return any(_member(person, catalog.teams[team]) for team in profile.teams)


def profiles_for(catalog: Catalog, person: Person) -> tuple[Profile, ...]:
    """The profiles that a person may use, in the file's order. Empty: this person may start nothing."""
    return tuple(profile for profile in catalog.profiles.values() if may_use(catalog, person, profile))


def default_profile_for(catalog: Catalog, person: Person) -> Profile | None:
    """The profile of a person who names none: the catalog's default, else their only one, else None."""
    mine = profiles_for(catalog, person)
    default = next((profile for profile in mine if profile.name == catalog.default_profile), None)
    return default or (mine[0] if len(mine) == 1 else None)


def team_of(catalog: Catalog, person: Person) -> Team | None:
    """The team that a person's work counts for: the first in the file that they are a member of."""
    return next((team for team in catalog.teams.values() if _member(person, team)), None)


def teams_led_by(catalog: Catalog, person: Person) -> tuple[Team, ...]:
    """The teams whose sessions a person may see and stop."""
    return tuple(team for team in catalog.teams.values() if not person.groups.isdisjoint(team.leads))


def _member(person: Person, team: Team) -> bool:
    """Leads are members, also where the identity provider does not list them among the rest."""
    return not person.groups.isdisjoint((*team.groups, *team.leads))
