"""Image references: what is one, and what lies under a prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sparkyard_catalog.references import RegistryPrefix, parse

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag", "digest"),
    [
        ("spark", None, "spark", None, None),
        ("library/spark:3.5", None, "library/spark", "3.5", None),
        ("ghcr.io/acme/spark:3.5", "ghcr.io", "acme/spark", "3.5", None),
        ("localhost/spark", "localhost", "spark", None, None),
        ("host:5000/a/b", "host:5000", "a/b", None, None),
        (f"ghcr.io/acme/spark@{DIGEST}", "ghcr.io", "acme/spark", None, DIGEST),
        (f"ghcr.io/acme/spark:1@{DIGEST}", "ghcr.io", "acme/spark", "1", DIGEST),
    ],
)
def test_a_reference_is_taken_apart(
    text: str, registry: str | None, path: str, tag: str | None, digest: str | None
) -> None:
    reference = parse(text)
    assert reference is not None
    assert (reference.registry, reference.path, reference.tag, reference.digest) == (registry, path, tag, digest)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "https://ghcr.io/a/b", "ghcr.io/../b", "ghcr.io/a/../../b", "ghcr.io//b", "ghcr.io/A/b", "/a/b",
     "ghcr.io/a/b:", "ghcr.io/a/b@sha256:short", "ghcr.io/a/b@md5:00", "ghcr.io/a/b\n", "ghcr.io/a/b;rm", "a" * 600,
     "ghcr.io/a/b:1@sha256:" + "0A" * 32, "user:pass@ghcr.io/a/b"],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "prefix", "inside"),
    [
        ("ghcr.io/acme/spark", "ghcr.io/acme", True),
        ("ghcr.io/acme/spark", "ghcr.io/acme/", True),
        ("ghcr.io/acme/team/spark:1", "ghcr.io/acme", True),
        ("ghcr.io/acme-evil/spark", "ghcr.io/acme", False),
        ("ghcr.io/acme", "ghcr.io/acme", False),
        ("ghcr.io.evil.com/acme/spark", "ghcr.io/acme", False),
        ("ghcr.io:443/acme/spark", "ghcr.io/acme", False),
        ("acme/spark", "ghcr.io/acme", False),
        ("docker.io/acme/spark", "docker.io/acme", True),
    ],
)
def test_a_prefix_is_matched_by_whole_components(text: str, prefix: str, inside: bool) -> None:
    reference = parse(text)
    assert reference is not None
    assert reference.under(prefix) is inside


@pytest.mark.parametrize("text", ["acme", "acme/", "https://ghcr.io/acme", "ghcr.io/acme:1", "ghcr.io/../x", "", "/"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a registry prefix"):
        TypeAdapter(RegistryPrefix).validate_python(text)


@given(st.text(alphabet="abz09./:@-_%\\ \n", max_size=60))
def test_whatever_is_under_a_prefix_begins_with_it(text: str) -> None:
    reference = parse("ghcr.io/acme" + text)
    if reference is not None and reference.under("ghcr.io/acme"):
        assert text.startswith("/")
        assert ".." not in text.partition("@")[0].split("/")
