"""A name for a uid that the machine knows no account of, so that what a user runs can ask who they are.

Without one ``whoami`` and the shell's prompt have no name, ssh refuses to start, and Java's login module, which
Spark asks, fails. The system's package libnss-wrapper answers in the account database's place, from a file: the
machine's accounts and this user.
"""

from functools import cache
from pathlib import Path

from sparkyard_spawner.home import Home, folder_name

_ACCOUNTS, _GROUPS = Path("/etc/passwd"), Path("/etc/group")


@cache
def wrapper() -> Path | None:
    """The library of libnss-wrapper, or None where the package is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/libnss_wrapper.so"))), None)


def name_environment(home: Home, user: str, folder: Path) -> dict[str, str]:
    """The variables by which a server's programs find their user's name; its files are written to ``folder``."""
    library = wrapper()
    if home.uid is None or library is None:
        return {}
    name = folder_name(user)  # safe in a line of the account database as well
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    accounts, groups = folder / f"{name}.passwd", folder / f"{name}.group"
    accounts.write_text(f"{_ACCOUNTS.read_text().rstrip()}\n{name}:x:{home.uid}:{home.uid}::{home.path}:/bin/bash\n")
    groups.write_text(f"{_GROUPS.read_text().rstrip()}\n{name}:x:{home.uid}:\n")
    for file in (accounts, groups):
        file.chmod(0o644)
    return {"LD_PRELOAD": str(library), "NSS_WRAPPER_PASSWD": str(accounts), "NSS_WRAPPER_GROUP": str(groups)}
