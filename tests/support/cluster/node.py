"""The first process of a cluster's namespaces: prepares network and mounts, starts the programs, reaps what ends.

It is started by `lifecycle` through unshare(1) and uses the standard library alone. A program that ends is started
again after two seconds, as an init system would; its name goes to the file `ended`, so that whoever waits for the
cluster knows. When this process is killed, the kernel kills all others in its process namespace.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESTART_SECONDS = 2.0
LINK_SECONDS = 120.0
# These need the API server; the kubelet would otherwise back off from it for seconds.
AFTER_API = ("controller-manager", "scheduler", "kubelet", "kube-proxy", "watching")


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def prepare_mounts(folder: Path) -> None:
    """Folders that the programs insist on, each on one of the cluster's own; nobody outside sees these mounts."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for theirs, ours in (("/var/lib/kubelet", "kubelet"), ("/var/lib/cni", "cni-state"), ("/var/log", "var-log")):
        Path(theirs).mkdir(parents=True, exist_ok=True)
        (folder / ours).mkdir()
        run("mount", "--bind", str(folder / ours), theirs)
    run("mount", "--make-rshared", "/")
    Path("/run/sparkyard").mkdir()


def prepare_network(plan: dict[str, Any]) -> None:
    """The node's address on the link to this machine, and forwarding between pods, services and that link."""
    end = time.monotonic() + LINK_SECONDS
    while subprocess.run(["ip", "link", "show", "uplink"], capture_output=True, check=False).returncode:
        if time.monotonic() > end:
            # `up` was killed before it wrote down who this is: nobody else would end it.
            sys.exit(f"no link to this machine came within {LINK_SECONDS:.0f} s")
        time.sleep(0.05)
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{plan['node']}/30", "dev", "uplink")
    run("ip", "link", "set", "uplink", "up")
    # Without it the node's own processes get "Network is unreachable" for services before kube-proxy's rules act.
    run("ip", "route", "add", plan["services"], "dev", "uplink", "src", plan["node"])
    for name, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("bridge/bridge-nf-call-iptables", "1"),
        ("bridge/bridge-nf-call-ip6tables", "1"),
    ):
        setting = Path("/proc/sys/net") / name
        if setting.exists():
            setting.write_text(value)


class Programs:
    """The running programs, by their process id."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._commands: dict[str, list[str]] = plan["commands"]
        self._folder = Path(plan["folder"])
        self._tests = plan["tests"]
        self._running: dict[int, str] = {}
        self._due: dict[str, float] = {}

    def start(self, name: str) -> None:
        if name == "kube-proxy":
            # Its chains for endpoints would otherwise stay empty (seen with 1.34).
            for family in ("ip", "ip6"):
                subprocess.run(["nft", "delete", "table", family, "kube-proxy"], capture_output=True, check=False)
        with (self._folder / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self._tests, env={**os.environ, "PYTHONPATH": self._tests}, start_new_session=True,
            )  # fmt: skip
        self._running[process.pid] = name
        process.returncode = 0  # reaped below, by whichever process ends

    def reap(self) -> None:
        """Take every ended process; start programs again whose time has come."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            name = self._running.pop(pid, None)
            if name is not None:
                with (self._folder / "ended").open("a") as ended:
                    ended.write(f"{name} {os.waitstatus_to_exitcode(status)}\n")
                self._due[name] = time.monotonic() + RESTART_SECONDS
        for name, due in list(self._due.items()):
            if time.monotonic() >= due:
                del self._due[name]
                self.start(name)

    def reap_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.reap()
            time.sleep(0.05)


def api_is_ready(plan: dict[str, Any]) -> bool:
    """Whether the API server answers and has set itself up."""
    context = ssl.create_default_context(cafile=plan["authority"])
    try:
        with urllib.request.urlopen(f"https://{plan['node']}:6443/readyz", timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    prepare_mounts(Path(plan["folder"]))
    prepare_network(plan)
    programs = Programs(plan)
    for name in plan["commands"]:
        if name not in AFTER_API:
            programs.start(name)
    programs.reap_until(lambda: api_is_ready(plan))
    for name in AFTER_API:
        programs.start(name)
    programs.reap_until(lambda: False)


if __name__ == "__main__":
    main()
