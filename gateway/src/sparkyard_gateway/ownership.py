"""Whose a thing of the gateway's is, and who else may see it and stop it: the rules, as functions of names.

    owner       sees it, uses it, ends it
    lead        of the team that it was recorded for: sees it and ends it
    admin       likewise, whosesoever it is
    anybody else gets the very answer of a thing that does not exist

Code runs in a session for its owner alone. Whoever ran code in another's session would act with that person's files
and credentials, and nobody could tell afterwards who did it: to see and stop what others run needs no such power.

Leads and admins have it by a token that carries it (`auth.OVERSEE`), and no notebook's token does.
"""

from sparkyard_gateway.auth import Caller
from sparkyard_gateway.errors import Forbidden


def may_see(caller: Caller, owner: str, team: str | None) -> bool:
    """Whether the caller may see and end what belongs to this owner and was recorded for this team."""
    return owner == caller.name or caller.sees_all or (team is not None and team in caller.leads)


def check_may_use(caller: Caller, owner: str) -> None:
    """Raises Forbidden where the caller, who may see it, may not act in the owner's place."""
    if owner != caller.name:
        raise Forbidden(
            f"This is {owner}'s: code runs in it for {owner} alone. You may look at it, cancel what runs in it, "
            "and stop or delete it."
        )
