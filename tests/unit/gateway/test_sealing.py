"""What was sealed comes back whole, in time, from its own purpose, or not at all."""

import base64
import contextlib
import time

import pytest

from sparkyard_gateway.sealing import Seal


def test_it_comes_back():
    seal = Seal("secret", "cookie")
    assert seal.open(seal.seal(60, token="t", user="ü"))["user"] == "ü"


def test_its_holder_can_not_read_it():
    sealed = Seal("secret", "cookie").seal(60, token="the-token-of-a-login")
    for part in (sealed, sealed + "=", sealed + "=="):
        with contextlib.suppress(ValueError):
            assert b"token" not in base64.urlsafe_b64decode(part)
    assert sealed != Seal("secret", "cookie").seal(60, token="the-token-of-a-login")


def test_not_after_its_time():
    seal = Seal("secret", "cookie")
    sealed = seal.seal(-1, token="t")
    assert seal.open(sealed) is None
    assert seal.open(seal.seal(60))["until"] <= time.time() + 60


def test_not_for_another_purpose_or_from_another_secret():
    sealed = Seal("secret", "cookie").seal(60, session=1)
    assert Seal("secret", "pass").open(sealed) is None
    assert Seal("other", "cookie").open(sealed) is None


@pytest.mark.parametrize("text", ["", None, "x", "!!!", "a" * 1000, "e30", "é"])
def test_not_from_junk(text):
    assert Seal("secret", "cookie").open(text) is None


def test_not_when_anything_was_changed():
    seal = Seal("secret", "cookie")
    sealed = seal.seal(60, session=1)
    for place in range(len(sealed)):
        other = "A" if sealed[place] != "A" else "B"
        changed = seal.open(sealed[:place] + other + sealed[place + 1 :])
        # The last character carries spare bits that encode nothing.
        assert changed is None or place == len(sealed) - 1
