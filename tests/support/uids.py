"""Whether users' processes can run under uids of their own where these tests run, and why not where they cannot."""

import os
import sys
from functools import cache
from pathlib import Path

from sparkyard_spawner.home import own_uids_possible

ROOT = Path(__file__).parent.parent.parent


@cache
def why_not() -> str | None:
    """None where they can: we are root, and others can read the project and its interpreter."""
    return own_uids_possible(Path("/tmp"), (Path(sys.executable), ROOT / "catalog.yaml", Path(os.__file__)))
