"""The driver's own lines in driver.log, which is whatever file descriptor 2 leads to.

Not the logging module: users configure that one for themselves, and our lines must neither vanish nor reach a cell.
"""

import contextlib
import os
import time


def note(text: str) -> None:
    """Write one line to the driver's log; a log that cannot be written is no reason to stop."""
    stamp = time.strftime("%y/%m/%d %H:%M:%S")
    line = f"{stamp} DRIVER {text}\n".encode("utf-8", "backslashreplace")
    with contextlib.suppress(OSError):
        os.write(2, line)
