"""People and service accounts: who asks, which profiles they may use, and which team they belong to."""

from dataclasses import dataclass

from sparkyard_catalog.catalog import Catalog, Team
from sparkyard_catalog.profiles import Profile

SERVICE_PREFIX = "service:"
"""What the name of a service account begins with wherever people are named too; no person may be called so."""


@dataclass(frozen=True)
class Person:
    """Someone who asks: the groups are the identity provider's, as they are now.

    A service account is one too; its team is written down for it, while a person's follows from the groups.
    """

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False
    team: str | None = None


def service_person(catalog: Catalog, account: str) -> Person | None:
    """A service account as one who asks; None where the catalog has no such account."""
    found = catalog.service_accounts.get(account)
    return None if found is None else Person(f"{SERVICE_PREFIX}{account}", frozenset(found.groups), team=found.team)


def may_use(catalog: Catalog, person: Person, profile: Profile) -> bool:
    """Whether a person may use a profile. Admins may use all of them, within the same caps."""
    if person.admin or profile.everyone or not person.groups.isdisjoint(profile.groups):
        return True
    return any(is_member(person, catalog.teams[team]) for team in profile.teams)


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
    if person.team is not None:
        return catalog.teams.get(person.team)
    return next((team for team in catalog.teams.values() if is_member(person, team)), None)


def teams_led_by(catalog: Catalog, person: Person) -> tuple[Team, ...]:
    """The teams whose sessions a person may see and stop. A service account leads nobody, whatever its groups."""
    if person.team is not None:
        return ()
    return tuple(team for team in catalog.teams.values() if not person.groups.isdisjoint(team.leads))


def is_member(person: Person, team: Team) -> bool:
    """Leads are members, also where the identity provider does not list them among the rest."""
    return person.team == team.name or not person.groups.isdisjoint((*team.groups, *team.leads))
