"""Image references (`registry/path:tag@sha256:digest`): read whole, and compared by whole path components.

The grammar is the one of the distribution project. It leaves no room for `..`, for a scheme, or for a space, and
`ghcr.io/acme` is a prefix of `ghcr.io/acme/spark` but not of `ghcr.io/acme-evil/spark`.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_REFERENCE = re.compile(
    rf"(?P<name>{_HOST}/{_PATH}|{_PATH})(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)
_PREFIX = re.compile(rf"{_HOST}(?:/{_PATH})?", re.ASCII)
_LONGEST = 512


@dataclass(frozen=True)
class Reference:
    """An image reference, taken apart."""

    registry: str | None
    path: str
    tag: str | None
    digest: str | None

    @property
    def components(self) -> tuple[str, ...]:
        """What a prefix is matched against."""
        return (*((self.registry,) if self.registry else ()), *self.path.split("/"))

    def under(self, prefix: str) -> bool:
        """Whether the image lies under a prefix, by whole path components. The image is never the prefix itself."""
        wanted = tuple(prefix.rstrip("/").split("/"))
        return len(self.components) > len(wanted) and self.components[: len(wanted)] == wanted


def parse(text: str) -> Reference | None:
    """The reference in a text, or None where it is none."""
    match = _REFERENCE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    head, slash, rest = match["name"].partition("/")
    # As Docker decides it: the first component is a host where it has a dot or a port, or is localhost.
    if slash and ("." in head or ":" in head or head == "localhost"):
        return Reference(head, rest, match["tag"], match["digest"])
    return Reference(None, match["name"], match["tag"], match["digest"])


def _reference(text: str) -> str:
    if parse(text) is None:
        raise ValueError(f"'{text}' is not an image reference; write registry.example.com/path/name:tag")
    return text


def _prefix(text: str) -> str:
    bare = text.rstrip("/")
    host = bare.partition("/")[0]
    if not _PREFIX.fullmatch(bare) or not ("." in host or ":" in host or host == "localhost"):
        raise ValueError(f"'{text}' is not a registry prefix; write the registry's host and a path without a tag, "
                         "such as registry.example.com/data-science/")  # fmt: skip
    return bare


ImageReference = Annotated[str, AfterValidator(_reference)]
RegistryPrefix = Annotated[str, AfterValidator(_prefix)]
