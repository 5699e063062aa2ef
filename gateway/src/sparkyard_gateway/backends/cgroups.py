"""Groups of processes that the kernel itself holds to their limits, where this machine lets us make them.

Words:
    version 1   a folder for each controller; a group is made below the gateway's own, in each of the two we need
    version 2   one folder for all; a group below ours is possible where memory and pids are handed down to it

A container usually shows its cgroups read-only, and so does a service without `Delegate=yes`: then there are none, and
the gateway looks after drivers itself (`fences`). What a group has in advance: it counts files in memory too, it knows
every process however it hides (another session, another folder, another name), and it is never late.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sparkyard_gateway.backends.limits import Limits

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids")
PREFIX = "sparkyard-"
"""What the name of every group begins with."""
LEFT_BEHIND_SECONDS = 300.0
"""After which an empty group is not one that a driver is just about to enter."""


@dataclass(frozen=True, slots=True)
class Group:
    """One driver's group: a folder for version 2, one for each controller for version 1."""

    memory: Path
    pids: Path
    version: int

    def limit(self, limits: Limits) -> None:
        """Set what it may take."""
        if self.version == 1:
            _write(self.memory / "memory.limit_in_bytes", limits.memory)
            with contextlib.suppress(OSError):  # only where swap is accounted for
                _write(self.memory / "memory.memsw.limit_in_bytes", limits.memory)
        else:
            _write(self.memory / "memory.max", limits.memory)
            with contextlib.suppress(OSError):
                _write(self.memory / "memory.swap.max", 0)
        _write(self.pids / "pids.max", limits.processes)

    def enter(self, pid: int) -> None:
        """Put a process in; all that it starts from then on is in it as well."""
        for folder in {self.memory, self.pids}:
            _write(folder / "cgroup.procs", pid)

    def members(self) -> list[int]:
        """The processes in it."""
        with contextlib.suppress(OSError):
            return [int(line) for line in (self.pids / "cgroup.procs").read_text(encoding="ascii").split()]
        return []

    def kill(self) -> bool:
        """End all that is in it, which can't start anything more. Returns whether nothing was left."""
        with contextlib.suppress(OSError):
            _write(self.pids / "pids.max", 0)
        members = self.members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not members

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel ended a process of the group because the group had used its memory up."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        with contextlib.suppress(OSError):
            lines = (self.memory / name).read_text(encoding="ascii").splitlines()
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)
        return False

    def remove(self) -> bool:
        """Take the empty group away. Returns whether it is gone: the kernel may need a moment for what just died."""
        for folder in {self.memory, self.pids}:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not (self.memory.exists() or self.pids.exists())


class Hierarchy:
    """Where groups are made: below the group that this process itself is in."""

    def __init__(self, folders: dict[str, Path], version: int) -> None:
        self._folders = folders
        self.version = version

    def group(self, name: str) -> Group:
        """The group of this name, whether it is there or not."""
        return Group(self._folders["memory"] / name, self._folders["pids"] / name, self.version)

    def tidy(self) -> None:
        """Remove what gateways left that died and never came back. A group with a process in it can't be removed."""
        for folder in set(self._folders.values()):
            for left in folder.glob(f"{PREFIX}*"):
                with contextlib.suppress(OSError):
                    if time.time() - left.stat().st_mtime > LEFT_BEHIND_SECONDS:
                        left.rmdir()

    def make(self, name: str, limits: Limits) -> Group:
        """Make a group, or take the one that is there. Raises OSError where the kernel won't have it."""
        group = self.group(name)
        for folder in {group.memory, group.pids}:
            folder.mkdir(exist_ok=True)
        group.limit(limits)
        return group


def find_hierarchy(root: Path = ROOT, own: str | None = None) -> Hierarchy | None:
    """Where groups can be made on this machine; None where nowhere."""
    try:
        text = Path("/proc/self/cgroup").read_text(encoding="ascii") if own is None else own
    except OSError:
        return None
    places = {names: path.lstrip("/") for _, names, path in (line.split(":", 2) for line in text.splitlines())}
    found = _version_1(root, places) or _version_2(root, places)
    return found if found is not None and _works(found) else None


def _version_1(root: Path, places: dict[str, str]) -> Hierarchy | None:
    folders: dict[str, Path] = {}
    for names, path in places.items():
        for controller in set(names.split(",")) & set(CONTROLLERS):
            folders[controller] = root / names / path
    return Hierarchy(folders, 1) if set(folders) == set(CONTROLLERS) else None


def _version_2(root: Path, places: dict[str, str]) -> Hierarchy | None:
    if "" not in places:
        return None
    folder = root / places[""]
    try:
        handed_down = (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return None
    return Hierarchy(dict.fromkeys(CONTROLLERS, folder), 2) if set(CONTROLLERS) <= set(handed_down) else None


def _works(hierarchy: Hierarchy) -> bool:
    """A trial: that the folder can be written says nothing yet."""
    trial = hierarchy.group(f"{PREFIX}trial-{os.getpid()}")
    try:
        hierarchy.make(f"{PREFIX}trial-{os.getpid()}", Limits(memory=1 << 30, processes=10))
    except OSError:
        return False
    finally:
        trial.remove()
    return True


def _write(path: Path, value: int) -> None:
    # Without O_CREAT: what the kernel does not offer is an error, and never a file.
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, str(value).encode("ascii"))
    finally:
        os.close(descriptor)
