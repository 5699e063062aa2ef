"""Start the driver from its folder or zip file, where Python knows no package name for it."""

import importlib
import os
import sys
import types


def _import(name: str) -> types.ModuleType:
    if __package__:
        return importlib.import_module(f".{name}", __package__)
    here = os.path.dirname(os.path.abspath(__file__))
    # Python put this folder first on the path: there, `import journal` in a user's cell would find ours.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    package = types.ModuleType("sparkyard_driver")
    package.__path__ = [here]
    sys.modules["sparkyard_driver"] = package
    return importlib.import_module(f"sparkyard_driver.{name}")


if __name__ == "__main__":
    if sys.argv[1:2] in (["batch"], ["history"]):
        sys.exit(_import(sys.argv[1]).main(sys.argv[2:]))
    sys.exit(_import("program").main(sys.argv[1:]))
