"""Starting a kernel: the session first, everything else while Spark starts.

Importing Sparkmagic and pandas takes seconds; asking the gateway for a session takes a few milliseconds and needs
neither. So the session is asked for before they are imported, and Spark starts meanwhile.
"""

import importlib

from sparkyard_sparkmagic.keeper import PYTHON, SessionKeeper


def launch(module: str, name: str, kind: str = PYTHON) -> None:
    """Start a session of a kind, then the kernel class `name` of `module` with it; returns when the kernel ends."""
    keeper = SessionKeeper(kind=kind)
    keeper.begin()
    kernel_class = getattr(importlib.import_module(module), name)
    kernel_class.keeper = keeper
    importlib.import_module("ipykernel.kernelapp").IPKernelApp.launch_instance(kernel_class=kernel_class)
