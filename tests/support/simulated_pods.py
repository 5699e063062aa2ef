"""The gateway whose drivers' pods run the simulated driver: `python -m support.simulated_pods`, with options as usual.

Their image needs Python alone: the program brings along the one library that it uses.
"""

import io
import zipfile
from pathlib import Path

import websockets

from sparkyard_gateway.backends import pod_objects
from sparkyard_gateway.command import main

MAIN = """\
import json, os, runpy, sys
with open(sys.argv[2]) as file:
    os.makedirs(json.load(file)["work_dir"], exist_ok=True)
sys.argv[1:] = ["--bootstrap-fd", str(os.open(sys.argv[2], os.O_RDONLY))]
runpy.run_module("simulated_driver", run_name="__main__")
"""


def program() -> bytes:
    """What stands in the ConfigMap in place of the driver program."""
    library = Path(websockets.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", MAIN)
        archive.write(Path(__file__).parent / "simulated_driver.py", "simulated_driver.py")
        for path in library.rglob("*.py"):
            archive.write(path, str(path.relative_to(library.parent)))
    return buffer.getvalue()


pod_objects.driver_file = program

if __name__ == "__main__":
    main()
