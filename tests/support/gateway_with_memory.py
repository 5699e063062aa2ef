"""The gateway on a machine with as much memory as a test says: `python -m support.gateway_with_memory`.

How many bytes are available stands in the file that SPARKYARD_TEST_MEMORY names, and is read at each look.
"""

import os
from pathlib import Path

from sparkyard_gateway import memory
from sparkyard_gateway.command import main

_FILE = Path(os.environ["SPARKYARD_TEST_MEMORY"])

memory.available = lambda: int(float(_FILE.read_text()))

if __name__ == "__main__":
    main()
