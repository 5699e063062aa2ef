"""`python -m support.cluster up|down|status|load|forget|build`: what the Makefile calls."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from support.cluster import archives, binaries, lifecycle, machine
from support.cluster.place import Place, name_of
from support.cluster.telling import fail, say


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m support.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster of this clone, or of CLUSTER=name")
    commands.add_parser("down", help="stop it; its images and logs stay for the next time")
    commands.add_parser("forget", help="stop it and remove its images and logs too")
    commands.add_parser("status", help="say whether it is up, and where its kubeconfig is")
    commands.add_parser("check", help="say whether this machine can run one")
    commands.add_parser("load", help="load image archives").add_argument("archive", type=Path, nargs="+")
    build = commands.add_parser("build", help="build programs into the cache and print where they are")
    build.add_argument("module", choices=sorted(binaries.ALL), nargs="+")
    arguments = parser.parse_args()
    place = Place(name_of())
    if arguments.command == "up":
        lifecycle.up(place)
        print(place.kubeconfig)
    elif arguments.command in {"down", "forget"}:
        (lifecycle.down if arguments.command == "down" else lifecycle.forget)(place)
    elif arguments.command == "status":
        if not lifecycle.is_ready(place):
            fail(f"the cluster {place.name} is not up; `make cluster-up` starts it")
        say(f"{place.name} is up; this machine is {lifecycle.addresses_of(place).host} to its pods")
        print(place.kubeconfig)
    elif arguments.command == "check":
        found = machine.obstacles()
        print("\n".join(found) or "a cluster can run here")
        sys.exit(1 if found else 0)
    elif arguments.command == "load":
        for archive in arguments.archive:
            archives.load(place, archive)
    elif arguments.command == "build":
        for module in arguments.module:
            print(binaries.built(binaries.ALL[module]))


if __name__ == "__main__":
    main()
