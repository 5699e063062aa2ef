"""Stock Sparkmagic 0.23, unchanged but for a header with the hub's token, does its real work against our gateway."""

import json
import os
import sys

import httpx
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from support import running_gateway
from support.running_gateway import TOKEN, RunningGateway
from support.waiting import until

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with running_gateway.running(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture(scope="module")
def kernel(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("home")
    (home / ".sparkmagic").mkdir()
    config = {
        "kernel_python_credentials": {"username": "", "password": "", "url": gateway.url, "auth": "None"},
        "custom_headers": {"Authorization": f"token {TOKEN}"},
        "session_configs": {"driverMemory": "1g", "executorCores": 1},
        "livy_session_startup_timeout_seconds": 180,
        "heartbeat_refresh_seconds": 5,
        "use_auto_viz": False,
    }
    (home / ".sparkmagic" / "config.json").write_text(json.dumps(config))
    (home / "kernels" / "stock").mkdir(parents=True)
    command = [sys.executable, "-m", "sparkmagic.kernels.pysparkkernel.pysparkkernel", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "PySpark", "language": "python"}
    (home / "kernels" / "stock" / "kernel.json").write_text(json.dumps(spec))
    manager = KernelManager(
        kernel_name="stock", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(home / "kernels")])
    )
    manager.start_kernel(env={**os.environ, "HOME": str(home), "SPARKMAGIC_CONF_DIR": str(home / ".sparkmagic")})
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=False)


def cell(kernel: BlockingKernelClient, code: str) -> tuple[str, str]:
    """Run a cell: the reply's status, and all that it showed."""
    shown: list[str] = []

    def hear(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            shown.append(content["text"])
        elif message["msg_type"] in {"display_data", "execute_result"}:
            shown.append(content["data"].get("text/html") or content["data"].get("text/plain", ""))
        elif message["msg_type"] == "error":
            shown.append("\n".join(content["traceback"]))

    reply = kernel.execute_interactive(code, output_hook=hear, timeout=240)
    return reply["content"]["status"], "".join(shown)


def interrupt_when_it_runs(kernel: BlockingKernelClient, gateway: RunningGateway, code: str) -> None:
    """Send a cell, interrupt the kernel as soon as the gateway runs it, and see the cell end."""
    (session,) = gateway.sessions()
    headers = {"Authorization": f"token {TOKEN}"}
    url = f"{gateway.url}/sessions/{session['id']}/statements?order=desc&size=1"
    sent = kernel.execute(code)

    def newest() -> dict[str, object]:
        found: dict[str, object] = httpx.get(url, headers=headers, timeout=30).json()["statements"][0]
        return found

    until(lambda: newest()["code"].strip() == code and newest()["state"] == "running")
    kernel.parent.interrupt_kernel()
    while kernel.get_shell_msg(timeout=120)["parent_header"].get("msg_id") != sent:
        pass
    until(lambda: newest()["state"] == "cancelled")
    while kernel.get_iopub_msg(timeout=30)["content"].get("execution_state") != "idle":
        pass


def test_a_notebooks_work(kernel, gateway):
    status, shown = cell(kernel, "print('hello from', spark.range(5).count())")
    assert status == "ok", shown
    assert "hello from 5" in shown
    assert "idle" in shown
    (session,) = gateway.sessions()
    assert (session["owner"], session["heartbeatTimeoutInSecond"]) == ("ann", 60)

    assert "42" in cell(kernel, "40 + 2")[1]
    assert "division by zero" in cell(kernel, "1/0")[1]

    cell(kernel, "spark.range(3).createOrReplaceTempView('t')")
    status, shown = cell(kernel, "%%sql -o frame\nselect id, id * 2 as twice from t")
    assert status == "ok", shown
    assert "4" in cell(kernel, "%%local\nprint(frame.twice.max())")[1]
    assert "Session's YARN" not in shown

    # What one cell leaves the next one has, and an error in SQL is shown with its word.
    assert "ok" in cell(kernel, "kept = spark.table('t').count()\nprint('ok', kept)")[1]
    status, shown = cell(kernel, "%%sql\nselect * from nosuch")
    assert "TABLE_OR_VIEW_NOT_FOUND" in shown

    # An interrupt reaches plain Python, and the session is as usable as before.
    interrupt_when_it_runs(kernel, gateway, "import time\nwhile True: time.sleep(0.1)")
    assert "3 is kept" in cell(kernel, "print(kept, 'is kept')")[1]
    assert [each["id"] for each in gateway.sessions()] == [session["id"]]

    status, shown = cell(kernel, "%%info")
    assert str(session["id"]) in shown
    status, shown = cell(kernel, "%%logs")
    assert "stdout" in shown
    assert "stderr" in shown

    status, shown = cell(kernel, '%%configure -f\n{"driverMemory": "512m", "kind": "pyspark"}')
    status, shown = cell(kernel, "print('again')")
    assert "again" in shown, shown
    assert [each["driverMemory"] for each in gateway.sessions()] == ["512m"]

    cell(kernel, "%%cleanup -f")
    assert gateway.sessions() == []
