"""``sparkyard-image``: what an image of one's own lacks to be a driver's or an executor's.

The check itself is one file that needs nothing but a Python (`image_check`), so that it can be sent into an image.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sparkyard_gateway import image_check

USAGE = """\
usage: sparkyard-image check [--for driver|executor] [--spark X.Y] [--python X.Y] [--root FOLDER] [--config FILE] ...
       sparkyard-image script

check   look at this machine, or at an image that is unpacked in FOLDER
script  print the check, to be run inside of an image:
            sparkyard-image script | docker run --rm -i IMAGE python3 - --for driver --spark 3.5
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments), ""]
    if command == "check":
        return image_check.main(rest[:-1])
    if command == "script" and rest == [""]:
        sys.stdout.write(Path(image_check.__file__).read_text(encoding="utf-8"))
        return 0
    (sys.stdout if command in ("-h", "--help") else sys.stderr).write(USAGE)
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
