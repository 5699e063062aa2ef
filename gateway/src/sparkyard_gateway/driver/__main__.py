"""Start the driver from its folder or zip file, where Python knows no package name for it."""

import importlib
import os
import sys
import types


def _import_program() -> types.ModuleType:
    if __package__:
        return importlib.import_module(".program", __package__)
    here = os.path.dirname(os.path.abspath(__file__))
    # Python put this folder first on the path: there, `import journal` in a user's cell would find ours.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    package = types.ModuleType("sparkyard_driver")
    package.__path__ = [here]
    sys.modules["sparkyard_driver"] = package
    return importlib.import_module("sparkyard_driver.program")


if __name__ == "__main__":
    sys.exit(_import_program().main(sys.argv[1:]))
