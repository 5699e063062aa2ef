"""`up`: look at the surroundings, then start everything under a guard and say what came of it."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from sparkyard_hub.standalone.failure import CannotStart, Stopped
from sparkyard_hub.standalone.guard import guarded
from sparkyard_hub.standalone.parts import Installation, log_folder
from sparkyard_hub.standalone.people import DemonstrationUser
from sparkyard_hub.standalone.ports import choose_ports
from sparkyard_hub.standalone.record import Launcher, Record, find_running, forget, take_lock
from sparkyard_hub.standalone.runner import Runner
from sparkyard_hub.standalone.state import SHARED_UID_NOTE, Home, read_text
from sparkyard_hub.standalone.surroundings import check_disk, find_java, load_catalog, make_home

TEMPORARY = ("traefik.toml", "traefik-rules.toml")
"""Of the hub's folder: they hold the hash of the proxy's password, and a killed hub leaves them."""


class Console:
    """Says what happens to the person, and to the launcher's log."""

    def __init__(self, log: TextIO) -> None:
        self._log = log

    def __call__(self, line: str) -> None:
        """For both."""
        self.note(line)
        try:
            print(line, flush=True)  # noqa: T201
        except OSError:
            return  # the terminal is gone; the log has it

    def note(self, line: str) -> None:
        """For the log alone."""
        try:
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            self._log.flush()
        except OSError:
            return  # a full disk must not keep us from stopping


def up(port: int, catalog_path: Path, examples: Path, *, detach: bool) -> int:
    """Start everything and, unless detached, stay until told to stop. Raises CannotStart."""
    home = Home.find()
    catalog_path = catalog_path.absolute()
    make_home(home)
    lock = take_lock(home.lock)
    if lock is None:
        running = find_running(home)
        where = f" at {running.address}" if running and running.address else " and is still starting or stopping"
        print(f"Sparkyard already runs here{where}. To end it: make down, or Ctrl-C where it was started.")  # noqa: T201
        return 0
    forget(home, _temporary(home))
    check_disk(home)
    java = find_java()
    catalog = load_catalog(catalog_path)
    ports = choose_ports(port)
    console = Console(open(home.logs / "launcher.log", "a", encoding="utf-8"))  # noqa: SIM115, PTH123

    def run(on_ready: Callable[[], None]) -> int:
        installation = Installation(home, ports, catalog_path, catalog, java, _folder(examples), os.getpid())
        return _run(installation, console, detached=detach, on_ready=on_ready)

    def afterwards() -> None:
        forget(home, _temporary(home))

    if not detach:
        return guarded(lambda: run(lambda: None), afterwards)
    return _in_background(lambda ready, leave: guarded(lambda: run(ready), afterwards, beside=leave))


def _run(
    installation: Installation,
    console: Console,
    *,
    detached: bool,
    on_ready: Callable[[], None],
) -> int:
    """In the runner's process: from start to end."""
    began = time.monotonic()
    home = installation.home
    code = 1
    runner = Runner(installation, console)
    try:
        guard = Launcher.of(os.getppid())
        guard.note(home.lock)
        console("Starting Sparkyard:")
        users = runner.start()
        _record(installation, guard, users, log_folder(runner.parts)).write(home)
        _greet(installation, users, console, time.monotonic() - began, detached=detached)
        on_ready()
        if obituary := runner.watch():
            console(f"sparkyard: {obituary}\nStopping the rest.")
        else:
            console("Stopping ...")
            code = 0
    except Stopped:
        console("Stopped before it was ready.")
        code = 130
    except CannotStart as problem:
        console(f"sparkyard: {problem}")
    except OSError as error:
        console(f"sparkyard: {error.filename or 'the system'}: {error.strerror}: mend that and start again.")
    finally:
        runner.stop()
        forget(home)  # the guard does so too, unless it was killed
    if code == 0:
        console("Stopped.")
    return code


def _record(it: Installation, guard: Launcher, users: tuple[DemonstrationUser, ...], logs: dict[str, str]) -> Record:
    log = str(it.home.logs / "launcher.log")
    return Record(guard.pid, guard.started, it.address, it.gateway, it.provider, users, log, logs)


def _greet(
    installation: Installation,
    users: Sequence[DemonstrationUser],
    console: Console,
    seconds: float,
    *,
    detached: bool,
) -> None:
    console.note(f"Ready at {installation.address} after {seconds:.1f} s")
    rows = [(user.role, user.name, user.password) for user in users]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "",
        f"Sparkyard is ready after {seconds:.1f} s: open  {installation.address}",
        "",
        *(
            "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
        "",
        f"Logs: {installation.home.logs}/ (hub.log, gateway.log, provider.log, launcher.log)",
    ]
    if reason := read_text(installation.home.hub / SHARED_UID_NOTE):
        lines.append(f"Note: all notebooks and drivers run as one system user, and can read each other: {reason}.")
    lines.append("`make down` stops everything." if detached else "Ctrl-C stops everything.")
    try:
        print("\n".join(lines), flush=True)  # noqa: T201  (passwords are for the terminal, not for the log)
    except OSError:
        return


def _in_background(start: Callable[[Callable[[], None], Callable[[], None]], int]) -> int:
    """Call `start(ready, leave)` in a session of its own; return once `ready` was called (0), or its exit code.

    The runner calls `ready`, the guard beside it `leave`: whoever waits for our output's end must not wait for them.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.setsid()

            def leave() -> None:
                os.close(writer)
                _leave_terminal()

            def ready() -> None:
                os.write(writer, b"0")
                leave()

            code = start(ready, leave)
        finally:
            os._exit(code)
    os.close(writer)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if os.read(reader, 1):
            return 0
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _leave_terminal() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _folder(path: Path) -> Path | None:
    return path.absolute() if path.is_dir() else None


def _temporary(home: Home) -> list[Path]:
    return [home.hub / name for name in TEMPORARY]
