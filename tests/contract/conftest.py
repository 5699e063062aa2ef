"""What several contract tests share.

neighbours    two people's real Spark sessions at once; the gateway runs each under its user's own uid where it can
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sparkyard_gateway.auth import OVERSEE
from support import hub_stand_in, uids
from support.hub_stand_in import SERVER_TOKEN_SCOPES, HubStandIn
from support.running_gateway import RunningGateway


@dataclass
class Tenant:
    """A person with a client of the gateway, and the session that they have there."""

    http: httpx.Client
    session: int = 0

    def start(self, **wish: object) -> None:
        made = self.http.post("/sessions", json={"kind": "pyspark", "profile": "small", **wish})
        assert made.status_code == 201, made.text
        self.session = made.json()["id"]

    def idle(self) -> None:
        answer: dict[str, object] = {"state": "starting"}
        while answer["state"] == "starting":
            answer = self.http.get(f"/sessions/{self.session}?wait=60&state=starting").json()
        assert answer["state"] == "idle", (answer, self.http.get(f"/sessions/{self.session}/log?size=-1").text[-5000:])

    def run(self, code: str) -> dict[str, object]:
        path = f"/sessions/{self.session}/statements"
        statement = self.http.post(f"{path}?wait=60", json={"code": code}).json()
        while statement["state"] not in ("available", "cancelled"):
            statement = self.http.get(f"{path}/{statement['id']}?wait=60").json()
        output: dict[str, object] = statement["output"]
        return output

    def text(self, code: str) -> str:
        output = self.run(code)
        assert output["status"] == "ok", output
        data = output["data"]
        assert isinstance(data, dict)
        return str(data["text/plain"])


@dataclass
class Neighbours:
    """Everybody who lives here. Alice and Bob each have a session; Lee leads them; Olaf is of another team."""

    hub: HubStandIn
    gateway: RunningGateway
    alice: Tenant
    bob: Tenant
    lee: Tenant
    olaf: Tenant
    own_uids: bool


@pytest.fixture(scope="session")
def neighbours() -> Iterator[Neighbours]:
    """One gateway with real drivers for all tests that look at what neighbours can do to each other."""
    folder = Path(tempfile.mkdtemp(prefix="neighbours-"))
    folder.chmod(0o755)
    (folder / "homes").mkdir(mode=0o711)
    (folder / "token").write_text("t" * 64)
    (folder / "token").chmod(0o600)
    for name, uid in (("alice", 61001), ("bob", 61002)):
        (folder / "homes" / name).mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder / "homes" / name, uid, uid)
    with hub_stand_in.running() as hub:
        for name, group in (("alice", "data-science"), ("bob", "data-science"), ("olaf", "analysts")):
            hub.admit(f"token-of-{name}", name, (group,))
        hub.admit("token-of-lee", "lee", ("data-science-leads",), scopes=(*SERVER_TOKEN_SCOPES, OVERSEE))
        gateway = RunningGateway(
            folder, hub.url, "--homes-dir", str(folder / "homes"), "--hub-token-file", str(folder / "token"),
            "--stop-drivers-on-exit", "--identity-ttl-seconds", "1",
        )  # fmt: skip
        gateway.start()
        try:
            people = {
                name: Tenant(
                    httpx.Client(base_url=gateway.url, headers={"Authorization": f"token token-of-{name}"}, timeout=120)
                )
                for name in ("alice", "bob", "lee", "olaf")
            }
            people["alice"].start(name="alices", conf={"spark.sql.note": AWKWARD})
            people["bob"].start(name="bobs")
            people["alice"].idle()
            people["bob"].idle()
            yield Neighbours(hub, gateway, **people, own_uids=uids.why_not() is None)
            for tenant in people.values():
                tenant.http.close()
        finally:
            gateway.stop()
    shutil.rmtree(folder)


AWKWARD = 'a: b #c\\n  privileged: true {{7*7}} {username} $HOME `id` %(x)s "\u00fc" = ! \\'
"""A value that means something in YAML, in templates, in a shell and in a properties file."""
