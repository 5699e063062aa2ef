"""What a driver on one machine may take, derived from what its profile grants.

On a cluster a session gets a pod for its driver and one for each executor, each with the heap that was asked for and
some memory on top for all that is no heap: Python, above all. On one machine the driver is its own executor, and has
all of that together. Three things hold it to that:

    together       all of its processes: a cgroup where the machine lets us make one, else the gateway looks at times
    one process    RLIMIT_DATA, a little above all of it: no single process runs away between two looks
    the user       RLIMIT_NPROC, where the driver has a system user of its own: what a fork bomb reaches at the utmost

None of them is a promise to have that much: it is a bound to what can be taken from others.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

MIB = 1024 * 1024
OVERHEAD_FACTOR = 0.4
"""What Python takes beside the JVM's heap, as Spark reckons it for pods."""
LEAST_OVERHEAD = 384 * MIB
SLACK = 1024 * MIB
"""How far one process may go beyond all of it: the JVM and thread libraries reserve what they never touch."""
PROCESSES, PROCESSES_A_CPU = 512, 64
"""Processes and threads of one driver. An idle one has about a hundred, and pools that grow with the machine."""
DRIVERS_A_USER = 8
"""For how many drivers a user's processes may do."""

_UNITS = {"b": 1, "k": 1024, "m": MIB, "g": 1024 * MIB, "t": 1024 * 1024 * MIB}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and numbers, for a driver with all it starts."""

    memory: int
    processes: int

    @property
    def process_memory(self) -> int:
        """What one of its processes may hold."""
        return self.memory + SLACK

    @property
    def user_processes(self) -> int:
        """What all of a user's drivers may start."""
        return self.processes * DRIVERS_A_USER

    def as_json(self) -> dict[str, int]:
        """As a backend's handle keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, kept: object) -> "Limits | None":
        """From a backend's handle; None where it has none."""
        return cls(**kept) if isinstance(kept, dict) and set(kept) == {"memory", "processes"} else None


def limits_of(
    conf: Mapping[str, str], memory_mib: int | None = None, processes: int | None = None, cpus: int | None = None
) -> Limits:
    """A driver's limits from its granted settings, unless the operator has fixed them."""
    driver = _with_overhead(conf, "driver")
    executors = int(conf.get("spark.executor.instances", "1")) * _with_overhead(conf, "executor")
    off_heap = _bytes(conf.get("spark.memory.offHeap.size", "0b"))
    return Limits(
        memory=memory_mib * MIB if memory_mib else driver + executors + off_heap,
        processes=processes or PROCESSES + PROCESSES_A_CPU * (cpus or os.cpu_count() or 1),
    )


def _with_overhead(conf: Mapping[str, str], process: str) -> int:
    heap = _bytes(conf.get(f"spark.{process}.memory", "1g"))
    granted = conf.get(f"spark.{process}.memoryOverhead")
    overhead = _bytes(granted) if granted else max(LEAST_OVERHEAD, int(heap * OVERHEAD_FACTOR))
    return heap + overhead + _bytes(conf.get(f"spark.{process}.pyspark.memory", "0b"))


def _bytes(text: str) -> int:
    """An amount of memory of Spark's; a bare number is mebibytes, as for the keys above."""
    bare = text.strip().lower()
    digits = bare.rstrip("bkmgt")
    unit = bare[len(digits) :][:1] or "m"
    return int(digits) * _UNITS[unit]


@cache
def prlimit() -> str | None:
    """The system's program that starts another one under limits. A process of another user's can't be limited from
    outside without a capability that containers lack; and what begins under its limits has never run without them."""
    return shutil.which("prlimit", path="/usr/bin:/bin")


def limited(command: Sequence[str], limits: Limits, *, own_user: bool) -> list[str]:
    """The command under its limits; as it is where the machine has no program for that."""
    program = prlimit()
    if program is None:
        return list(command)
    asked = ["--core=0", f"--data={limits.process_memory}"]
    if own_user:
        # Of a user who is also the gateway's it would count the gateway's own.
        asked.append(f"--nproc={limits.user_processes}")
    return [program, *asked, "--", *command]


def amount(size: int) -> str:
    """An amount of memory for people."""
    return f"{size / 1024 / MIB:.1f} GiB"


def too_much_memory(limits: Limits, used: int | None = None) -> str:
    """Why a driver was ended, for its owner."""
    found = f" ({amount(used)})" if used else ""
    return (
        f"The driver and what it started needed more memory{found} than the {amount(limits.memory)} that the session "
        "has, so they were ended. Ask for more driverMemory or executorMemory, as far as the profile allows, or work "
        "on less at a time."
    )


def too_many_processes(limits: Limits, used: int) -> str:
    """Why a driver was ended, for its owner."""
    return (
        f"The driver had started {used} processes and threads, and a session has {limits.processes} at most, so they "
        "were ended."
    )
