"""Whether a system user can get at a file, by the modes of the folders on the way there.

Asked of the file system and not of a process under that user's uid: a process can fail for reasons that the user has in
hand, such as their many other processes, and what follows from a no here is that their drivers run as root.
"""

import os
import stat
import subprocess
from pathlib import Path

import structlog

_PROBE = "import os, sys; open(sys.argv[1]).close(); os.stat(sys.argv[2])"

log = structlog.get_logger(__name__)


def closed_to(path: Path, uid: int, gid: int) -> bool:
    """Whether modes alone keep this user from reading the file, or from entering the folder."""
    real = Path(os.path.realpath(path))
    ways = [(folder, stat.S_IXOTH) for each in (path.absolute(), real) for folder in each.parents]
    wanted = stat.S_IXOTH if real.is_dir() else stat.S_IROTH
    return any(not _allows(folder, uid, gid, bit) for folder, bit in [*ways, (real, wanted)])


def _allows(path: Path, uid: int, gid: int, others: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
    return bool(found.st_mode & (others << shift))


def tried(uid: int, gid: int, python: Path, program: Path, folder: Path) -> bool:
    """Whether a process of that user, by this interpreter, reads the program and sees the folder."""
    try:
        probe = subprocess.run(
            [str(python), "-c", _PROBE, str(program), str(folder)],
            user=uid,
            group=gid,
            extra_groups=[],
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        log.warning("driver_identity_not_tried", uid=uid, error=str(error))
        return False
    if probe.returncode != 0:
        said = probe.stderr.decode(errors="replace")[-500:]
        log.warning("driver_identity_failed", uid=uid, code=probe.returncode, said=said)
    return probe.returncode == 0
