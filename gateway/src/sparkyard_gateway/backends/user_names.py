"""A name for a uid that /etc/passwd does not have: Hadoop's login, which all of Spark's programs do, fails without."""

from functools import cache
from pathlib import Path

from sparkyard_gateway.backends.base import Identity


@cache
def name_library() -> Path | None:
    """nss_wrapper, from the system's package libnss-wrapper; looked for once, as it is a walk over all libraries."""
    found = sorted(Path("/usr/lib").glob("**/libnss_wrapper.so"))
    return found[0] if found else None


def named(folder: Path, home: Path, identity: Identity) -> dict[str, str]:
    """Write the name's files into `folder`; returns the environment variables that make a process see them."""
    name = "".join(each if each.isalnum() and each.isascii() else "-" for each in identity.name) or "user"
    passwd, group = folder / "passwd", folder / "group"
    passwd.write_text(f"{name}:x:{identity.uid}:{identity.gid}::{home}:/usr/sbin/nologin\n", encoding="ascii")
    group.write_text(f"{name}:x:{identity.gid}:\n", encoding="ascii")
    for each in (passwd, group):
        each.chmod(0o644)
    return {
        "LD_PRELOAD": str(name_library()),
        "NSS_WRAPPER_PASSWD": str(passwd),
        "NSS_WRAPPER_GROUP": str(group),
    }
