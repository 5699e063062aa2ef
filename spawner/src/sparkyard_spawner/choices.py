"""From what a form or a URL carries to the options that the catalog judges.

An *option* is one of the catalog's keys with one value, as the REST API sends it. A *field* is what the profile
page posts: its form works without JavaScript, so it posts the fields of every profile on it, each named
``PROFILE.KEY``. Only the chosen profile's count, an empty one means "the profile's default", and an image typed
into ``PROFILE.driver_image_own`` replaces the one chosen from the list.

Nothing is judged here and nothing is dropped that a person might have meant: what is not understood becomes an
option under the name it came with, and the catalog refuses it by that name.
"""

import re
from collections.abc import Mapping, Sequence

COUNTS = frozenset({"driver_cores", "executor_cores", "executors"})
OWN_IMAGE = "_own"

# JupyterHub's own, not options: the token against forged requests, which its form's address carries.
_HUBS_OWN = frozenset({"_xsrf"})


def field_name(profile: str, key: str) -> str:
    """The name under which the page posts one profile's option."""
    return f"{profile}.{key}"


def options_from_fields(fields: Mapping[str, Sequence[object]], profiles: Sequence[str]) -> dict[str, object]:
    """The options in a posted form or a query; of the ``profiles`` on the page, only the chosen one's fields count."""
    chosen = [value for value in fields.get("profile", ()) if value != ""]
    options: dict[str, object] = {}
    if chosen:
        options["profile"] = _single(chosen)
    typed: dict[str, object] = {}
    for name, values in fields.items():
        if name in _HUBS_OWN or name == "profile":
            continue
        profile, dot, key = name.rpartition(".")
        if dot and profile in profiles and profile != options.get("profile"):
            continue
        if not dot or profile not in profiles:
            key = name
        value = _single([value.strip() if isinstance(value, str) else value for value in values])
        if value == "":
            continue
        if dot and key.endswith(OWN_IMAGE):
            typed[key.removesuffix(OWN_IMAGE)] = value
        else:
            options[key] = _number(value) if key in COUNTS else value
    return options | typed


def _single(values: Sequence[object]) -> object:
    """A field's one value; several stay several, which no option takes."""
    return values[0] if len(values) == 1 else list(values)


def _number(value: object) -> object:
    """A whole number where a form wrote one; anything else stays as it is, to be refused by name."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value
