"""Which process runs which tests, where several share the work."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/local/",)
"""What shares something that is dear to start, beyond a file: a hub, a browser and the people who use them."""


class ByFile(LoadFileScheduling):
    """Tests side by side: those of a file one after the other in one process, and so what is in TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    def remove_node(self, node: Any) -> str | None:
        """What a process had before it when it died is handed out again; what it had done is not.

        The library hands out both. Of a file without tests left no process ever says that it is done, and so none asks
        for the next: after one death all the others would wait for ever.
        """
        self.assigned_work[node] = {
            file: tests for file, tests in self.assigned_work[node].items() if not all(tests.values())
        }
        crashed: str | None = super().remove_node(node)
        return crashed
