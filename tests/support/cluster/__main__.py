"""`python -m support.cluster up|down|status|load|forget|build`: what the Makefile calls."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from support.cluster import archives, binaries, images, lifecycle, machine, proxy
from support.cluster.place import Place, name_of
from support.cluster.telling import fail, say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m support.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster of this clone, or of CLUSTER=name")
    commands.add_parser("down", help="stop it; its images and logs stay for the next time")
    commands.add_parser("forget", help="stop it and remove its images and logs too")
    commands.add_parser("status", help="say whether it is up, and where its kubeconfig is")
    commands.add_parser("check", help="say whether this machine can run one")
    commands.add_parser("load", help="load image archives").add_argument("archive", type=Path, nargs="+")
    commands.add_parser("images", help="build the project's images and load them").add_argument("image", nargs="*")
    commands.add_parser("prepare", help="build all that the tests on a cluster need")
    build = commands.add_parser("build", help="build programs into the cache and print where they are")
    build.add_argument("module", choices=sorted(binaries.ALL), nargs="+")
    return parser


def _up(place: Place, _arguments: argparse.Namespace) -> None:
    lifecycle.up(place)
    print(place.kubeconfig)


def _status(place: Place, _arguments: argparse.Namespace) -> None:
    if not lifecycle.is_ready(place):
        fail(f"the cluster {place.name} is not up; `make cluster-up` starts it")
    say(f"{place.name} is up; this machine is {lifecycle.addresses_of(place).host} to its pods")
    print(place.kubeconfig)


def _check(_place: Place, _arguments: argparse.Namespace) -> None:
    found = machine.obstacles()
    print("\n".join(found) or "a cluster can run here")
    sys.exit(1 if found else 0)


def _load(place: Place, arguments: argparse.Namespace) -> None:
    for archive in arguments.archive:
        archives.load(place, archive)


def _images(place: Place, arguments: argparse.Namespace) -> None:
    images.build_and_load(place, arguments.image or images.IMAGES, is_up=lifecycle.is_ready(place))


def _prepare(_place: Place, _arguments: argparse.Namespace) -> None:
    """Everything that takes minutes, before the tests, whose output nobody sees while they run."""
    if os.environ.get("SPARKYARD_CLUSTER") == "existing":
        return
    if machine.obstacles():
        say("no cluster can run on this machine; the tests on Kubernetes will be left out")
        return
    machine.install(machine.PACKAGES)
    for source in binaries.ALL.values():
        binaries.built(source)
    for image in (*images.IMAGES.values(), images.TRAEFIK):
        images.built(image)
    proxy.built()


def _build(_place: Place, arguments: argparse.Namespace) -> None:
    for module in arguments.module:
        print(binaries.built(binaries.ALL[module]))


COMMANDS: dict[str, Callable[[Place, argparse.Namespace], None]] = {
    "up": _up,
    "down": lambda place, _arguments: lifecycle.down(place),
    "forget": lambda place, _arguments: lifecycle.forget(place),
    "status": _status,
    "check": _check,
    "load": _load,
    "images": _images,
    "build": _build,
    "prepare": _prepare,
}


def main() -> None:
    """Do what the command line says."""
    arguments = _parser().parse_args()
    COMMANDS[arguments.command](Place(name_of()), arguments)


if __name__ == "__main__":
    main()
