"""Which process runs which tests, where several share the work."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/local/",)
"""What shares something that is dear to start, beyond a file: a hub, a browser and the people who use them."""


class ByFile(LoadFileScheduling):
    """Tests side by side: those of a file one after the other in one process, and so what is in TOGETHER."""

    def __init__(self, config: Any, log: Any = None) -> None:
        super().__init__(config, log)
        self._deaths: Counter[str] = Counter()

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    def remove_node(self, node: Any) -> str | None:
        """What a process had before it when it died is handed out again; what it had done is not.

        The library hands out both. Of a file without tests left no process ever says that it is done, and so none asks
        for the next: after one death all the others would wait for ever. The test in which it died is tried again as
        often as any that fails, where the library would try it for ever.
        """
        left = [(file, test) for file, tests in self.assigned_work[node].items() for test in tests if not tests[test]]
        died_in = left[0][1] if left else None
        if died_in is not None:
            self._deaths[died_in] += 1
            if self._deaths[died_in] > (getattr(self.config.option, "reruns", None) or 0):
                del left[0]
        work: dict[str, dict[str, bool]] = {}
        for file, test in left:
            work.setdefault(file, {})[test] = False
        self.assigned_work[node] = work
        super().remove_node(node)
        return died_in

    def mark_test_pending(self, item: str) -> None:  # type: ignore[override]
        """Nothing, for whoever tries again what failed: `remove_node` has handed it out already."""
