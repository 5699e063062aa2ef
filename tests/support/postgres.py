"""A real PostgreSQL from Debian's packages, on a socket in a folder of its own, with databases made on demand.

It runs as the system's user `postgres` where the tests run as root, which PostgreSQL refuses to be. It can be
stopped, crashed, frozen and started again: `freeze` stops every process of it in mid-step, as a machine does that
has gone away without a word.
"""

import contextlib
import getpass
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg

USER = "sparkyard"


class Postgres:
    """A server; `url` of a new, empty database each."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._numbers = itertools.count(1)
        self._frozen: list[psutil.Process] = []
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        with (self._data / "postgresql.conf").open("a") as conf:
            # Without fsync: the tests kill processes, not machines.
            conf.write(
                f"listen_addresses=''\nunix_socket_directories='{folder}'\nfsync=off\nfull_page_writes=off\n"
                "max_connections=50\nshared_buffers=16MB\nautovacuum=off\n"
            )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **self._as,
        )  # fmt: skip

    def listen(self, address: str, clients: str) -> None:
        """Be reached over the network too, by whoever is in `clients`, with a password; before `start`."""
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses='{address}'\n")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {clients} scram-sha-256\n")

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self.folder / "postgres.log"))

    def stop(self) -> None:
        """As an administrator stops it: connections are ended."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", "fast")

    def crash(self) -> None:
        """As it dies with its machine: what was committed is found again when it starts."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", "immediate")

    def freeze(self) -> None:
        """Stop every process of it in mid-step."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        self._frozen = [postmaster, *postmaster.children()]
        for each in self._frozen:
            each.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for each in self._frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)
        self._frozen = []

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the test's own."""
        return psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True)

    def new_database(self) -> str:
        """The name of a new database."""
        name = f"gateway_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str) -> str:
        """What a gateway is told."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"


def programs() -> Path | None:
    """Where Debian puts PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def running(address: str = "", clients: str = "") -> Iterator[Postgres]:
    """A server that ends with the test; with an address, it is reached there by `clients` too."""
    at = programs()
    assert at is not None, f"PostgreSQL is missing for {getpass.getuser()}: scripts/setup test installs it"
    # Not in pytest's folder, which only its own user may enter; a short path, as a socket's name must be.
    folder = Path(tempfile.mkdtemp(prefix="sparkyard-postgres-"))
    folder.chmod(0o755)
    server = Postgres(folder, at)
    if address:
        server.listen(address, clients)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.crash()
        shutil.rmtree(folder, ignore_errors=True)
