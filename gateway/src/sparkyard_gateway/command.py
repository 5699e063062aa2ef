"""``sparkyard-gateway``: the command that serves the gateway.

SIGTERM and SIGINT end it in order: no new requests, waiting ones answered, the database flushed. The drivers run on
for the next gateway to find, unless ``--stop-drivers-on-exit``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import ValidationError

from sparkyard_gateway.config import ENVIRONMENT_PREFIX, Settings

STARTED_IN_VAIN = 2
"""Exit code when the settings or the surroundings don't allow a start: a retry without a change is useless."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparkyard-gateway",
        description="Serve Sparkyard's Livy endpoint.",
        epilog=f"Every setting may also come from the environment as {ENVIRONMENT_PREFIX}<NAME> or from the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with settings")
    for name, field in Settings.model_fields.items():
        option = "--" + name.replace("_", "-")
        text = (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        elif name == "metrics_from":
            parser.add_argument(option, nargs="*", metavar="NETWORK", default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(option, metavar="VALUE", default=argparse.SUPPRESS, help=text)
    return parser


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings from command line, environment and file; ends the process with a sentence where they are wrong."""
    parser = _parser()
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    config: Path | None = given["config"]
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'database_url'}: {each['msg']}" for each in error.errors()
        )
        parser.exit(STARTED_IN_VAIN, f"sparkyard-gateway: {problems}\n")
    except (OSError, ValueError) as error:
        parser.exit(STARTED_IN_VAIN, f"sparkyard-gateway: cannot read {config}: {error}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    settings = read_settings(arguments)
    # structlog imports it where it happens to be installed, for tracebacks that are never shown that way here.
    sys.modules.setdefault("rich", cast("ModuleType", None))
    # Imported late: `--help` and a wrong setting answer at once.
    from sparkyard_gateway.server import serve  # noqa: PLC0415

    sys.exit(serve(settings))


if __name__ == "__main__":
    main()
