"""`down`: end the Sparkyard that runs in this home, whoever started it and from where."""

import time

import psutil

from sparkyard_hub.standalone.failure import CannotStart
from sparkyard_hub.standalone.processes import has_ended, wait_until
from sparkyard_hub.standalone.record import find_running
from sparkyard_hub.standalone.runner import PATIENCE
from sparkyard_hub.standalone.state import Home


def down() -> int:
    """Ask the launcher to stop and wait until it has. Raises CannotStart, whose sentence says what to do."""
    home = Home.find()
    running = find_running(home)
    if running is None:
        print("Nothing of Sparkyard runs here.")  # noqa: T201
        return 0
    process = running.process
    try:
        process.terminate()
    except psutil.AccessDenied as error:
        raise CannotStart(f"It was started by {process.username()}: only that user and root may end it.") from error
    if not wait_until(lambda: has_ended(process), time.sleep, PATIENCE + 20):
        raise CannotStart(
            f"Process {process.pid} does not end: {home.logs / 'launcher.log'} says more; "
            f"kill -9 {process.pid} ends it at once."
        )
    where = f" at {running.address}" if running.address else ""
    print(f"Sparkyard{where} is stopped.")  # noqa: T201
    return 0
