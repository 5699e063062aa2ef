"""A real notebook server under a real hub: how it starts, what it sees, how it ends, and how it outlives its hub."""

import json
import os
import stat
import subprocess
from typing import Any

import httpx
import psutil

from sparkyard_spawner.names import wrapper
from support import uids
from support.running_hub import Hub


def server_process(hub: Hub, user: str) -> psutil.Process:
    """The notebook server: the only child of its keeper."""
    (server,) = psutil.Process(hub.server(user)["state"]["pid"]).children()
    return server


def start(hub: Hub, user: str, **options: object) -> None:
    answer = hub.api("POST", f"/users/{user}/server", json=options)
    assert answer.status_code in (201, 202), answer.text
    hub.wait(lambda: hub.ready(user), f"the server of {user} did not come up")


def stop(hub: Hub, user: str) -> None:
    assert hub.api("DELETE", f"/users/{user}/server").status_code in (202, 204)
    hub.wait(lambda: hub.stopped(user), f"the server of {user} did not stop")


class Notebook:
    """A user's notebook server, asked directly with a token of theirs."""

    def __init__(self, hub: Hub, user: str) -> None:
        token = hub.api("POST", f"/users/{user}/tokens", json={"scopes": ["access:servers!user"]}).json()["token"]
        port = next(one.laddr.port for one in server_process(hub, user).net_connections() if one.status == "LISTEN")
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/user/{user}/", headers={"Authorization": f"token {token}"}, timeout=30
        )

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def start_kernel(self) -> None:
        assert self._client.post("api/kernels", json={"name": "python3"}).status_code == 201

    def close(self) -> None:
        self._client.close()


def progress_of(hub: Hub, user: str) -> list[dict[str, Any]]:
    """The events of the start page until the start has ended."""
    url = f"{hub.url}/api/users/{user}/server/progress"
    with httpx.stream("GET", url, headers={"Authorization": f"token {hub.token}"}, timeout=60) as stream:
        return [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]


def test_a_server_from_start_to_end(hub: Hub) -> None:
    assert hub.api("POST", "/users/sam/server", json={"profile": "large", "driver_memory": "4g"}).status_code == 202

    # While it starts, it says what it is doing.
    events = progress_of(hub, "sam")
    phases = [event["phase"] for event in events if "phase" in event]
    assert "Starting JupyterLab" in phases
    assert set(phases) <= {"Making your folder ready", "Starting JupyterLab", "Waiting for JupyterLab to answer"}
    assert events[-1].get("ready"), events[-1]
    percents = [event["progress"] for event in events]
    assert percents == sorted(percents)

    # It is told of its profile and its gateway, and of nothing else of the hub's.
    process = server_process(hub, "sam")
    environment = process.environ()
    assert "SECRET_OF_THE_HUB" not in environment
    assert "TEST_HUB" not in environment
    unexpected = {name for name in environment if not name.startswith(("JUPYTERHUB_", "SPARKYARD_", "NSS_WRAPPER_"))}
    assert unexpected <= {"LANG", "LC_ALL", "LC_CTYPE", "TZ", "PATH", "HOME", "USER", "LOGNAME", "SHELL",
                          "JUPYTER_CONFIG_PATH", "JPY_API_TOKEN", "LD_PRELOAD", "MEM_LIMIT"}  # fmt: skip
    assert environment["SPARKYARD_GATEWAY_URL"] == "http://127.0.0.1:1"
    assert environment["SPARKYARD_GATEWAY_PUBLIC_PATH"] == "/services/gateway"
    assert environment["SPARKYARD_PROFILE"] == "large"
    assert environment["SPARKYARD_PROFILE_TITLE"] == "Large"
    assert environment["MEM_LIMIT"] == str(2**30)
    defaults = json.loads(environment["SPARKYARD_SESSION_DEFAULTS"])
    assert (defaults["driverMemory"], defaults["numExecutors"]) == ("4g", 2)
    assert defaults["conf"]["spark.kubernetes.driver.container.image"] == "spark"

    # It runs in a home of its own, as the home's owner, and listens to this machine alone.
    home = hub.folder / "users" / "sam"
    assert process.cwd() == str(home)
    assert environment["HOME"] == environment["JUPYTERHUB_ROOT_DIR"] == str(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / "examples" / "01-first.ipynb").exists()
    assert process.uids().real == home.stat().st_uid == (61000 if uids.why_not() is None else os.geteuid())
    assert {one.laddr.ip for one in process.net_connections() if one.status == "LISTEN"} == {"127.0.0.1"}
    assert environment["JUPYTERHUB_API_TOKEN"] not in str(psutil.Process(hub.server("sam")["state"]["pid"]).cmdline())
    assert environment["JUPYTERHUB_API_TOKEN"] not in "".join(
        log.read_text() for log in (hub.folder / "logs").iterdir()
    )

    # Its programs know the user's name although the machine has no account of it.
    if uids.why_not() is None and wrapper() is not None:
        asking = ["/bin/sh", "-c", "whoami; ls -ld ~ | cut -d' ' -f3"]
        as_sam: dict[str, Any] = {"user": 61000, "group": 61000, "extra_groups": ()}
        said = subprocess.run(asking, env=environment, capture_output=True, text=True, check=True, **as_sam)
        assert said.stdout.split() == ["sam", "sam"]

    # JupyterLab and the classic interface are there, without asking the network for news or extensions.
    notebook = Notebook(hub, "sam")
    assert notebook.get("api").status_code == 200
    lab = notebook.get("lab")
    assert lab.status_code == 200
    assert '"news": {"disabled": true}' in lab.text
    assert '"@jupyterlab/apputils-extension:announcements"' in lab.text.partition('"disabledExtensions"')[2]
    assert '"hubPrefix": "/hub/"' in lab.text, "JupyterLab offers the hub's control panel and logging out"
    assert notebook.get("tree").status_code == 200
    assert httpx.get(f"{notebook.get('api').url}/contents").status_code == 403

    # Stopping it leaves nothing, kernels included.
    notebook.start_kernel()
    notebook.close()
    below = process.children(recursive=True)
    assert below
    stop(hub, "sam")
    assert not any(one.is_running() for one in (process, *below))

    # The choice is remembered, and is there in one click.
    page = hub.sign_in("sam").get("/spawn").text
    assert "your last choice" in page
    assert 'id="profile-large"' in page
    assert page.index("autofocus") > page.index('id="profile-large"')
    assert 'value="4g"' in page

    # A catalog that no longer grants it is no reason to start something else in silence.
    hub.catalog.write_text(hub.catalog.read_text().replace("{default: 2g, max: 8g}", "{default: 1g, max: 3g}"))
    answer = hub.api("POST", "/users/sam/server")
    assert answer.status_code == 403
    assert answer.json()["message"] == "driver_memory '4g' is not granted by profile 'large'; it allows 512m to 3g."
    page = hub.sign_in("sam").get("/spawn").text
    assert "Your last choice is not available any more" in page
    assert "it allows 512m to 3g" in page
    assert hub.stopped("sam")


def test_two_users_have_nothing_in_common(hub: Hub) -> None:
    start(hub, "sam", profile="small")
    start(hub, "ann", profile="small")

    sam, ann = server_process(hub, "sam"), server_process(hub, "ann")
    assert sam.cwd() != ann.cwd()
    assert sam.environ()["JUPYTERHUB_API_TOKEN"] != ann.environ()["JUPYTERHUB_API_TOKEN"]
    if uids.why_not() is None:
        assert sam.uids().real != ann.uids().real

    notebook = Notebook(hub, "sam")
    anns_port = next(one.laddr.port for one in ann.net_connections() if one.status == "LISTEN")
    token = notebook._client.headers["Authorization"]
    answer = httpx.get(f"http://127.0.0.1:{anns_port}/user/ann/api/contents", headers={"Authorization": token})
    assert answer.status_code == 403
    notebook.close()


def test_a_server_outlives_a_restart_of_its_hub(hub: Hub) -> None:
    hub.cleanup = False
    hub.stop()
    hub.start()
    start(hub, "sam", profile="small")
    process = server_process(hub, "sam")

    assert hub.process is not None
    hub.process.kill()
    hub.process.wait()
    hub.start()

    hub.wait(lambda: hub.ready("sam"), "the new hub did not find the server")
    assert server_process(hub, "sam") == process

    # One that died while no hub looked is seen as dead.
    hub.process.kill()
    hub.process.wait()
    process.kill()
    process.wait()
    hub.start()
    hub.wait(lambda: hub.stopped("sam"), "the new hub believes in a dead server")


def test_a_server_whose_hub_was_killed_while_it_started_is_taken_over(hub: Hub) -> None:
    assert hub.api("POST", "/users/sam/server", json={"profile": "small"}).status_code == 202
    hub.wait(lambda: "pid" in (hub.server("sam").get("state") or {}), "the start was not written down")
    process = server_process(hub, "sam")
    assert not hub.ready("sam")

    assert hub.process is not None
    hub.process.kill()
    hub.process.wait()
    hub.start()

    hub.wait(lambda: hub.ready("sam"), "the new hub did not take the server over")
    assert server_process(hub, "sam") == process
    stop(hub, "sam")
    assert not process.is_running()


def test_a_server_that_fails_says_why(hub: Hub) -> None:
    broken = hub.folder / "broken" / "python"
    broken.parent.mkdir()
    broken.write_text('#!/bin/sh\necho "ImportError: no <jupyterhub> here, $JUPYTERHUB_API_TOKEN"\nexit 3\n')
    broken.chmod(0o755)
    lab = 'ref: "registry.example.com/lab:1"'
    hub.catalog.write_text(hub.catalog.read_text().replace(lab, f'{lab}, local: {{python: "{broken}"}}'))

    sam = hub.sign_in("sam")
    sam.start(profile="small")
    hub.wait(lambda: hub.stopped("sam"), "the failed server is still there")

    page = sam.get("/spawn-pending/sam")
    assert page.status_code == 500
    assert "JupyterLab ended while it was starting (exit status 3). Try again" in page.text
    assert "ImportError: no &lt;jupyterhub&gt; here, [secret]" in page.text
    assert "Back to the profiles" in page.text
    (event,) = progress_of(hub, "sam")
    assert event["failed"]
    assert "exit status 3" in event["message"]


def test_a_start_can_be_cancelled(hub: Hub) -> None:
    slow = hub.folder / "slow" / "python"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 600\n")
    slow.chmod(0o755)
    lab = 'ref: "registry.example.com/lab:1"'
    hub.catalog.write_text(hub.catalog.read_text().replace(lab, f'{lab}, local: {{python: "{slow}"}}'))

    assert hub.api("POST", "/users/sam/server", json={"profile": "small"}).status_code == 202
    hub.wait(lambda: "pid" in (hub.server("sam").get("state") or {}), "the start was not written down")
    process = server_process(hub, "sam")

    stop(hub, "sam")

    assert not process.is_running()
