"""What appears under a cell: streamed text, outputs, and one block that is updated in place.

The block is an ordinary Jupyter display with a display_id, so it works in JupyterLab, Notebook 7 and nbclient alike,
needs no widget, and leaves nothing to be seen in the saved notebook once it is cleared.
"""

import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core import display_functions

Bundle = Mapping[str, Any]
_publish: Callable[..., None] = display_functions.publish_display_data


class Block:
    """One display, shown late, updated seldom, cleared at the end."""

    def __init__(self, delay: float = 0.5, interval: float = 0.25) -> None:
        self._id = uuid.uuid4().hex
        self._not_before = time.monotonic() + delay
        self._interval = interval
        self._shown: Bundle | None = None

    def offer(self, bundle: Bundle) -> None:
        """Show `bundle` if it is new and its time has come; what is skipped is only ever older news."""
        now = time.monotonic()
        if now >= self._not_before and bundle != self._shown:
            self.show(bundle)
            self._not_before = now + self._interval

    def show(self, bundle: Bundle) -> None:
        """Show `bundle` now."""
        _publish(dict(bundle), transient={"display_id": self._id}, update=self._shown is not None)
        self._shown = bundle

    def clear(self) -> None:
        """Leave nothing to be seen, if anything was shown."""
        if self._shown is not None:
            self.show({"text/html": "", "text/plain": ""})


def write(text: str) -> None:
    """Text as the code printed it, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def show(bundle: Bundle) -> None:
    """An output of its own."""
    _publish(dict(bundle))
