"""``sparkyard-standalone up|down``: Sparkyard on this machine, for a demonstration, a laptop or the tests."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sparkyard_hub.standalone.failure import CannotStart


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a problem is a sentence and exit code 1."""
    # Until something runs that has to be stopped, Ctrl-C just ends this, without Python's report of where it was.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except CannotStart as problem:
        print(f"sparkyard: {problem}", file=sys.stderr)  # noqa: T201
        code = 1
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sparkyard-standalone", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="up|down")
    up = commands.add_parser("up", help="start everything and print the address and the demonstration users")
    up.add_argument("--port", type=int, default=8000, help="the port of the address (default: 8000)")
    up.add_argument("--detach", action="store_true", help="return when all is ready; `down` ends it")
    up.add_argument(
        "--catalog",
        type=Path,
        default=Path(os.environ.get("SPARKYARD_CATALOG") or "catalog.yaml"),
        help="the admin's catalog (default: SPARKYARD_CATALOG, or catalog.yaml here)",
    )
    up.add_argument(
        "--examples", type=Path, default=Path("examples"), help="notebooks that everyone finds in their home"
    )
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="end what `up --detach` started")
    down.set_defaults(run=_down)
    return parser


# Imported late, so that --help and Ctrl-C are answered at once.


def _up(options: argparse.Namespace) -> int:
    from sparkyard_hub.standalone.up import up  # noqa: PLC0415

    return up(options.port, options.catalog, options.examples, detach=options.detach)


def _down(options: argparse.Namespace) -> int:
    from sparkyard_hub.standalone.down import down  # noqa: PLC0415

    del options
    return down()


if __name__ == "__main__":
    main()
