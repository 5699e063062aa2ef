"""Our driver program as one file that spark-submit takes for a Python application.

spark-submit knows a Python application by the ending `.py`, and Python runs a zip archive whatever its name. So the
driver's folder is zipped, with a `digest` inside that tells builds apart, and called `.py`. The same program gives
the same bytes.

    python -m sparkyard_gateway.driver_file FILE     write it, to be put where an upstream Livy reads it
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

DRIVER_FOLDER = Path(__file__).parent / "driver"
NAME = "sparkyard_driver.py"
_FIRST_LINE = b"#!/usr/bin/env python3\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def driver_digest(folder: Path = DRIVER_FOLDER) -> str:
    """Which build of the driver program this gateway has."""
    hashed = hashlib.sha256()
    for path in _members(folder):
        hashed.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def driver_file(folder: Path = DRIVER_FOLDER) -> bytes:
    """The file's content."""
    buffer = io.BytesIO(_FIRST_LINE)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for path in _members(folder):
            _add(archive, str(path.relative_to(folder)), path.read_bytes())
        _add(archive, "digest", driver_digest(folder).encode())
    return buffer.getvalue()


def write_driver_file(target: Path) -> None:
    """Write it, whole or not at all, for everyone to read: it holds no secret, and runs under its user's own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    unfinished.write_bytes(driver_file())
    unfinished.chmod(0o644)
    unfinished.replace(target)


def _members(folder: Path) -> list[Path]:
    """What belongs to the program: modules and what they read, without what Python or an editor left there."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _LONG_AGO)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)


def main(arguments: list[str]) -> int:
    """The command."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m sparkyard_gateway.driver_file FILE\n")
        return 2
    target = Path(arguments[0])
    write_driver_file(target)
    sys.stdout.write(f"{target}: driver program {driver_digest()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
