"""Whether a machine can run a cluster is said in sentences, all of them at once."""

import os
import platform

import pytest

from support.cluster import machine


def test_another_system_than_linux_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert machine.obstacles() == ["a cluster needs Linux, and this is Darwin"]


def test_an_ordinary_user_is_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (said,) = machine.obstacles()
    assert "needs root" in said
    with pytest.raises(SystemExit, match="SPARKYARD_CLUSTER=existing and KUBECONFIG"):
        machine.require()


def test_packages_that_cannot_be_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="needs nosuchpackage, and there is no apt-get"):
        machine.install({"/no/such/file": "nosuchpackage"})
