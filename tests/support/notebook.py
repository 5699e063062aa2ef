"""A notebook's front end for tests: a real kernel process, cells sent to it, and what came back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, Self

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

KERNELS = Path(sys.prefix) / "share" / "jupyter" / "kernels"


@dataclass
class Ran:
    """One cell: the kernel's reply, and everything that was shown, with the time at which it came."""

    reply: dict[str, Any]
    seconds: float
    messages: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.reply["status"] == "ok"

    @property
    def text(self) -> str:
        """What was printed."""
        return "".join(content["text"] for _, kind, content in self.messages if kind == "stream")

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [content for _, kind, content in self.messages if kind == "error"]

    @property
    def displays(self) -> list[dict[str, Any]]:
        """The displays as they stand at the end, in order of their first appearance."""
        shown: dict[object, dict[str, Any]] = {}
        for number, (_, kind, content) in enumerate(self.messages):
            if kind in ("display_data", "update_display_data", "execute_result"):
                key = (content.get("transient") or {}).get("display_id", number)
                shown[key] = content["data"]
        return list(shown.values())

    @property
    def html(self) -> str:
        return "\n".join(data.get("text/html", "") for data in self.displays)

    def times(self, kind: str) -> list[float]:
        """When messages of a kind came, in seconds from the cell's start."""
        return [at for at, message, _ in self.messages if message == kind]


class Notebook:
    """A kernel with a front end. ``with Notebook("pyspark", environment) as notebook: notebook.run("1+1")``."""

    def __init__(self, kernel: str, environment: Mapping[str, str], folder: Path | None = None) -> None:
        specs = KernelSpecManager(kernel_dirs=[str(KERNELS)])
        self.manager = KernelManager(kernel_name=kernel, kernel_spec_manager=specs)
        self._environment = {**os.environ, **environment}
        self._folder = folder

    def __enter__(self) -> Self:
        self.manager.start_kernel(env=self._environment, cwd=str(self._folder or Path.cwd()))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel()

    def send(self, code: str) -> str:
        """Start a cell; its number is for `finish`."""
        number: str = self.client.execute(code)
        return number

    def finish(self, number: str, seconds: float = 60) -> Ran:
        """Wait for a cell's end."""
        began = time.monotonic()
        messages: list[tuple[float, str, dict[str, Any]]] = []
        while True:
            left = began + seconds - time.monotonic()
            assert left > 0, f"the cell did not end in {seconds} s; so far: {messages}"
            try:
                message = self.client.get_iopub_msg(timeout=left)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind not in ("status", "execute_input"):
                messages.append((time.monotonic() - began, kind, content))
        elapsed = time.monotonic() - began
        while True:
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == number:
                return Ran(reply["content"], elapsed, messages)

    def run(self, code: str, seconds: float = 60) -> Ran:
        """Run a cell to its end."""
        return self.finish(self.send(code), seconds)

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        """Restart the kernel and wait until it answers."""
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=60)

    def complete(self, code: str, cursor: int | None = None) -> list[str]:
        reply = self.client.complete(code, cursor, reply=True, timeout=10)
        matches: list[str] = reply["content"]["matches"]
        return matches
