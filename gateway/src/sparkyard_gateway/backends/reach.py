"""Whether a system user can get at a file, by the modes of the folders on the way there.

Asked of the file system and not of a process under that user's uid: a process can fail for reasons that the user has in
hand, such as their many other processes, and what follows from a no here is that their drivers run as root.
"""

import os
import stat
from pathlib import Path


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
