"""The demonstration users: one for each role, with passwords of their own that stay the same from start to start."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from sparkyard_hub.standalone.state import read_json, write_json

ADMIN_GROUP = "sparkyard-admins"
"""Whoever is in this group administers the demonstration."""

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""For passwords that a person types from one window into another: nothing that looks like something else."""


@dataclass(frozen=True)
class Person:
    """A demonstration user before they have a password."""

    name: str
    full_name: str
    role: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class DemonstrationUser(Person):
    """A demonstration user who can sign in."""

    password: str

    @property
    def email(self) -> str:
        """An address that nobody has."""
        return f"{self.name}@example.org"


PEOPLE = (
    Person("dana", "Dana Reyes", "data scientist", ("data-science",)),
    Person("ana", "Ana Costa", "analyst", ("analysts",)),
    Person("lee", "Lee Park", "team lead", ("data-science", "data-science-leads")),
    Person("ada", "Ada Berg", "admin", (ADMIN_GROUP, "data-science")),
    Person("noor", "Noor Haddad", "in no group: to see the refusal", ()),
)


def demonstration_users(passwords: Path, people: tuple[Person, ...] = PEOPLE) -> tuple[DemonstrationUser, ...]:
    """Everyone with their password from the file, which gains a random one for whoever has none yet."""
    known = read_json(passwords) or {}
    missing = [person.name for person in people if not isinstance(known.get(person.name), str)]
    if missing:
        known |= {name: _password() for name in missing}
        write_json(passwords, known)
    return tuple(
        DemonstrationUser(person.name, person.full_name, person.role, person.groups, known[person.name])
        for person in people
    )


def _password() -> str:
    # Four groups of four out of 32 letters: 80 bits.
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(4))
