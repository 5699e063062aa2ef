"""`sparkyard-catalog`: check a catalog before it is in force, and see what a person would get from it.

Exit codes: 0 fine, 1 the catalog is refused or the person may not use the profile, 2 the command itself is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from sparkyard_catalog.advice import advice, missing_on_this_machine
from sparkyard_catalog.errors import CatalogError, Refused
from sparkyard_catalog.loading import load
from sparkyard_catalog.overview import as_data, as_text
from sparkyard_catalog.people import Person, profiles_for
from sparkyard_catalog.schema import json_schema, reference
from sparkyard_catalog.servers import resolve_server


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except BrokenPipeError:  # piped into head
        sys.stderr.close()
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sparkyard-catalog", description="Check and show Sparkyard's catalog.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="say what is wrong with a catalog, with line and column")
    check.add_argument("file", metavar="FILE")
    check.add_argument("--local", action="store_true", help="also look for the interpreters that stand for images here")
    check.add_argument("--json", action="store_true", help="print the problems as JSON")
    check.set_defaults(run=_check)

    show = commands.add_parser("show", help="say what a person would get")
    show.add_argument("file", metavar="FILE")
    show.add_argument("--user", required=True, metavar="U", help="the user's name")
    show.add_argument("--groups", default="", metavar="A,B", help="their groups, as the identity provider names them")
    show.add_argument("--admin", action="store_true", help="as one of Sparkyard's admins")
    show.add_argument("--profile", metavar="P", help="only this profile")
    show.add_argument("--json", action="store_true", help="print it as JSON")
    show.set_defaults(run=_show)

    schema = commands.add_parser("schema", help="print the JSON Schema of the file, for editors")
    schema.set_defaults(run=_schema)
    keys = commands.add_parser("reference", help="print every key of the file, in Markdown")
    keys.set_defaults(run=_reference)
    return parser


def _check(options: argparse.Namespace) -> int:
    try:
        catalog = load(options.file)
    except CatalogError as error:
        if options.json:
            _print(json.dumps({"ok": False, "problems": [asdict(problem) for problem in error.problems]}, indent=2))
        else:
            count = len(error.problems)
            _print(str(error))
            _complain(f"{options.file} is refused for {count} problem{'s' if count > 1 else ''}; where it is in use, "
                      "the last good one stays in force")  # fmt: skip
        return 1
    missing = list(missing_on_this_machine(catalog)) if options.local else []
    counts = {"profiles": len(catalog.profiles), "images": len(catalog.images), "teams": len(catalog.teams)}
    if catalog.service_accounts:
        counts["service_accounts"] = len(catalog.service_accounts)
    if options.json:
        _print(json.dumps({"ok": not missing, "advice": list(advice(catalog)), "missing": missing, **counts}, indent=2))
        return 1 if missing else 0
    for sentence in (*missing, *(f"{line} (advice)" for line in advice(catalog))):
        _print(f"{options.file}: {sentence}")
    if not missing:
        contents = ", ".join(f"{count} {noun.replace('_', ' ')}" for noun, count in counts.items())
        _print(f"{options.file} is fine: {contents}")
    return 1 if missing else 0


def _show(options: argparse.Namespace) -> int:
    groups = frozenset(group.strip() for group in options.groups.split(",") if group.strip())
    person = Person(options.user, groups, options.admin)
    try:
        catalog = load(options.file)
        profiles = profiles_for(catalog, person)
        if options.profile is not None:
            granted = resolve_server(catalog, person, {"profile": options.profile}).profile
            profiles = tuple(profile for profile in profiles if profile.name == granted)
    except CatalogError as error:
        _complain(str(error))
        return 1
    except Refused as refused:
        _complain(refused.message)
        return 1
    if options.json:
        _print(json.dumps(as_data(catalog, person, profiles), indent=2))
    else:
        _print(as_text(catalog, person, profiles))
    return 0


def _schema(_: argparse.Namespace) -> int:
    _print(json.dumps(json_schema(), indent=2))
    return 0


def _reference(_: argparse.Namespace) -> int:
    _print(reference().rstrip())
    return 0


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
