"""The API's description holds: whatever schemathesis makes of it, no answer is a 5xx, and every answer is described.

Everything is generated from the application's own OpenAPI document, so a new route is covered as it is added. The
gateway is a real one on loopback, its drivers are simulated, and the inputs are the same in every run.
"""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation

from sparkyard_gateway.app import BODIES, ROUTERS
from sparkyard_gateway.description import describe, reference
from support import contract_backends
from support.contract_backends import BACKENDS
from support.running_gateway import ROOT

EXAMPLES = 15
SESSIONS_AT_ONCE = 6
ENDS_IT = ("DELETE /sessions/{session}", "POST /sessions/{session}/stop")
"""Asked of sessions of their own, so that the others find theirs alive."""
STREAMS = ("/events", "/log/text")
"""Asked of a session that has ended: of one that lives they tell for as long as it does."""
checks.load_all_checks()
CHECKS = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    )
]


def document() -> dict[str, Any]:
    app = FastAPI(title="Sparkyard gateway", version="1")
    for router in ROUTERS:
        app.include_router(router)
    return describe(app, ROUTERS, BODIES)


DOCUMENT = document()
api = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(generation=GenerationConfig(deterministic=True, allow_extra_parameters=False))
        )
    ),
)


@dataclass
class Target:
    """A gateway with something in it."""

    client: httpx.Client
    session: int
    ended: int
    asked: int = 0

    def reference(self, generated: str, operation: str) -> str:
        """What stands for a generated session: in two of three cases one that is there."""
        self.asked += 1
        if self.asked % 3 == 0:
            return generated
        if operation in ENDS_IT:
            made = self.client.post("/sessions", json={"kind": "pyspark"})
            return str(made.json()["id"]) if made.status_code == 201 else generated
        return str(self.ended if operation.endswith(STREAMS) else self.session)


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Iterator[Target]:
    options = ("--max-sessions-per-user", str(SESSIONS_AT_ONCE), "--max-body-bytes", "100000")
    folder = tmp_path_factory.mktemp("openapi")
    with contract_backends.running(BACKENDS[0], folder, *options, simulated=True) as people:
        alice = people["alice"]
        ended, session = [alice.post("/sessions", json={"kind": "pyspark"}).json()["id"] for _ in range(2)]
        alice.post(f"/sessions/{ended}/stop")
        for code in ("40 + 2", "1/0"):
            answer = alice.post(f"/sessions/{session}/statements", params={"wait": 60}, json={"code": code})
            assert answer.json()["state"] == "available"
        yield Target(alice, session, ended)
        # It is as good as before.
        answer = alice.post(f"/sessions/{session}/statements", params={"wait": 60}, json={"code": "40 + 2"})
        assert answer.json()["output"]["data"]["text/plain"] == "42"


def check(case: schemathesis.Case, target: Target) -> None:
    if "session" in (case.path_parameters or {}):
        case.path_parameters["session"] = target.reference(case.path_parameters["session"], case.operation.label)
    if case.query and "wait" in case.query:
        case.query["wait"] = min(case.query["wait"], 0.01) if isinstance(case.query["wait"], int | float) else "x"
    checked = CHECKS
    if getattr(case.meta.phase.data, "parameter_location", None) is not ParameterLocation.PATH:
        checked = [*CHECKS, checks.CHECKS.get_one("negative_data_rejection")]
    token = target.client.headers["Authorization"]
    answer = case.call(base_url=str(target.client.base_url), headers={"Authorization": token}, timeout=120)
    case.validate_response(answer, checks=checked)


def checking(method: str, path: str) -> Callable[..., None]:
    """The test of one operation."""

    @api.include(method=method, path=path).parametrize()
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def test(case: schemathesis.Case, target: Target) -> None:
        check(case, target)

    return test


# Each with a name of its own: of several by one name, those who run tests side by side would run one.
for _path, _operations in DOCUMENT["paths"].items():
    for _method in _operations:
        _name = re.sub(r"\W+", "_", f"test_{_method}_{_path}").rstrip("_")
        globals()[_name] = checking(_method.upper(), _path)


def test_the_reference_for_people_is_the_same():
    assert (ROOT / "docs" / "api.md").read_text() == reference(DOCUMENT), "write docs/api.md anew from reference()"


def test_it_describes_every_route_of_livys():
    routes = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    one, of = "/sessions/{session}", "/sessions/{session}/statements"
    assert {
        "GET /sessions", "POST /sessions", f"GET {one}", f"DELETE {one}", f"GET {one}/state", f"GET {one}/log",
        f"POST {one}/stop", f"POST {one}/interrupt", f"POST {one}/connect", f"POST {one}/completion",
        f"GET {of}", f"POST {of}", f"GET {of}/{{statement}}", f"POST {of}/{{statement}}/cancel", "GET /version",
    } <= routes  # fmt: skip


HEADERS = {
    "Accept": "application/vnd.livy.v" + "9" * 500 + ".9+json",
    "Accept-Encoding": "gzip;q=x, \xff",
    "Authorization": "token " + "x" * 600,
    "Content-Encoding": "gzip",
    "Content-Length": "-1",
    "Content-Type": "multipart/form-data; boundary=" + "b" * 5000,
    "Cookie": "=;;" * 500,
    "Expect": "200-maybe",
    "Forwarded": "for=\"'\\",
    "Host": "",
    "Idempotency-Key": "\xe9" * 300,
    "If-None-Match": '"' * 100,
    "Range": "bytes=-1-99999999999999999999",
    "Transfer-Encoding": "chunked, identity",
    "X-Forwarded-For": "\xff, 999.999.999.999",
    "X-Forwarded-Proto": "javascript:",
    "X-HTTP-Method-Override": "DELETE",
    "X-Request-Id": "a" * 5000,
}


@pytest.mark.parametrize(("name", "value"), HEADERS.items(), ids=HEADERS)
def test_no_header_makes_a_5xx(target, name, value):
    """By hand: no client would send some of them."""
    url = target.client.base_url
    for method in ("GET", "POST"):
        for path in ("/sessions", f"/sessions/{target.session}/statements", "/version"):
            given = {
                "Host": "x",
                "Authorization": target.client.headers["Authorization"],
                "Content-Length": "2",
                "Connection": "close",
                name: value,
            }
            lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {text}" for key, text in given.items()), "", "{}"]
            with socket.create_connection((url.host, url.port), timeout=120) as connection:
                connection.sendall("\r\n".join(lines).encode("latin-1"))
                answer = connection.recv(1000)
            assert answer[:9] == b"HTTP/1.1 ", answer
            assert int(answer[9:12]) < 500, answer
