"""The outermost process: it forks the runner, passes signals on, and cleans up even if the runner was killed.

It does next to nothing, so that next to nothing can go wrong in it. As the nearest subreaper above the runner it
inherits everything that a killed runner leaves behind.
"""

import os
import signal
from collections.abc import Callable

from sparkyard_hub.standalone.processes import adopt_orphans, end_descendants, end_with_parent

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def guarded(run: Callable[[], int], afterwards: Callable[[], None], beside: Callable[[], None] = lambda: None) -> int:
    """Call `run` in a forked process and return its exit code, with nothing of it left running.

    In this process, `beside` is called once that runs and `afterwards` at the end, however that came.
    """
    adopt_orphans()
    guard = os.getpid()
    told = 0
    runner = os.fork()
    if runner == 0:
        # A group of its own: the terminal's Ctrl-C reaches the guard alone, which passes on one orderly request.
        os.setpgid(0, 0)
        code = 1
        try:
            end_with_parent(guard)
            code = run()
        finally:
            os._exit(code)

    def pass_on(_number: int, _frame: object) -> None:
        nonlocal told
        told += 1
        os.kill(runner, signal.SIGTERM if told < 3 else signal.SIGKILL)  # whoever insists gets it at once

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    beside()
    _, status = os.waitpid(runner, 0)
    end_descendants()
    afterwards()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 1
