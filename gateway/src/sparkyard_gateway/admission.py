"""Whether one more session may be: its name, and how many there are. Each refusal says what would be right."""

from collections import Counter
from collections.abc import Iterable

from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import Rejected
from sparkyard_gateway.live import LiveSession
from sparkyard_gateway.names import check_name


def check(
    name: str | None, owner: str, sessions: Iterable[LiveSession], creating: Counter[str], settings: Settings
) -> None:
    """Raise Rejected where a session of this owner's may not be added to these and those that are being created."""
    check_name(name)
    running = [each for each in sessions if not each.state.ended and not each.removed]
    mine = [each for each in running if each.owner == owner]
    if name is not None and any(each.name == name for each in mine):
        raise Rejected(f"Duplicate session name: {name}")
    if settings.max_sessions is not None and len(running) + creating.total() >= settings.max_sessions:
        raise full(settings, everybody=True)
    most = settings.max_sessions_per_user
    if most is not None and len(mine) + creating[owner] >= most:
        raise full(settings, everybody=False)


def full(settings: Settings, *, everybody: bool) -> Rejected:
    """As many sessions run as may: of everybody, or of this owner."""
    if everybody:
        return Rejected(f"too many sessions: this gateway runs at most {settings.max_sessions} at a time")
    most = settings.max_sessions_per_user
    return Rejected(f"too many sessions: you may run at most {most} at a time; delete one first")
