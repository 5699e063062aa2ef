"""Our kernels as a front end sees them: real kernel processes, a scripted gateway, no Spark."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.notebook import Notebook, Ran
from support.scripted_gateway import (
    AnswersStatementsWith504,
    DropsPolls,
    NeverAnswersDelete,
    Run,
    ScriptedGateway,
    ok,
)

TOKEN = "3f9a-token-of-adas-server"

Start = Callable[[ScriptedGateway], Notebook]


def environment(server: ScriptedGateway, home: Path) -> dict[str, str]:
    return {
        "SPARKYARD_GATEWAY_URL": server.url,
        "SPARKYARD_PROFILE": "small",
        "SPARKYARD_PROFILE_TITLE": "Small & quick",
        "SPARKYARD_SESSION_DEFAULTS": json.dumps({"driverMemory": "2g"}),
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_USER": "ada",
        "HOME": str(home),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedGateway]:
    gateway = ScriptedGateway()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def notebook(server: ScriptedGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """One PySpark kernel that the tests of this module share; those that change its session start their own."""
    home = tmp_path_factory.mktemp("home")
    with Notebook("pyspark", environment(server, home), home) as started:
        yield started


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Start]:
    """Start a kernel of one's own on a gateway of one's own."""
    started: list[tuple[Notebook, ScriptedGateway]] = []

    def start(gateway: ScriptedGateway, kernel: str = "pyspark") -> Notebook:
        notebook = Notebook(kernel, environment(gateway, tmp_path), tmp_path)
        notebook.__enter__()
        started.append((notebook, gateway))
        return notebook

    yield start
    for notebook, gateway in started:
        notebook.__exit__()
        gateway.close()


def test_the_session_was_asked_for_before_any_cell(server: ScriptedGateway, notebook: Notebook) -> None:
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/sessions")
    assert body == {"driverMemory": "2g", "profile": "small", "kind": "pyspark", "heartbeatTimeoutInSecond": 180}
    assert headers["Authorization"] == f"token {TOKEN}"
    assert headers["Idempotency-Key"]
    assert headers["X-Requested-By"]


def test_the_first_cell_introduces_the_session_and_the_next_does_not(notebook: Notebook) -> None:
    first = notebook.run("40 + 2")
    assert first.ok
    assert first.text == "42\n"
    for part in ("Spark session 0", "Small &amp; quick", "3.5.9", "python:3.11", 'href="/gw/spark-ui/0/"'):
        assert part in first.html
    assert notebook.run("1+1").displays == []


def test_a_short_cell_is_one_request(server: ScriptedGateway, notebook: Notebook) -> None:
    before = len(server.requests)
    notebook.run("1+1")
    assert [(method, path) for method, path, _, _ in server.requests[before:]] == [
        ("POST", "/sessions/0/statements?wait=0.3")
    ]


def test_a_failing_cell_fails_with_the_remote_error_shown_once(notebook: Notebook) -> None:
    ran = notebook.run("1/0")
    assert ran.reply["status"] == "error"
    assert (ran.reply["ename"], ran.reply["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert len(ran.errors) == 1
    shown = "\n".join(ran.errors[0]["traceback"])
    assert shown.count("division by zero") == 1
    assert "sparkyard_sparkmagic" not in shown


def test_run_all_stops_at_the_failing_cell(notebook: Notebook) -> None:
    cells = [notebook.send(code) for code in ("1/0", "6*7")]
    assert notebook.finish(cells[0]).reply["status"] == "error"
    second = notebook.finish(cells[1])
    assert second.reply["status"] == "aborted"
    assert second.text == ""


def test_output_appears_as_it_is_printed_and_only_once(server: ScriptedGateway, notebook: Notebook) -> None:
    def script(run: Run) -> dict[str, object]:
        for number in range(4):
            run.print(f"line {number}\n")
            time.sleep(0.25)
        return ok(text__plain="line 0\nline 1\nline 2\nline 3\n'done'")

    server.scripts["loop()"] = script
    ran = notebook.run("loop()")
    assert ran.text == "line 0\nline 1\nline 2\nline 3\n'done'\n"
    times = ran.times("stream")
    assert len(times) >= 3
    assert times[0] < 0.6 < times[-1]


def test_stages_are_shown_while_it_runs_in_one_block_that_is_cleared(
    server: ScriptedGateway, notebook: Notebook
) -> None:
    def script(run: Run) -> dict[str, object]:
        for done in range(5):
            run.change(stages=[{"id": 7, "name": "count at <cell 1>", "tasks": 4, "done": done, "running": 1}])
            time.sleep(0.3)
        return ok(text__plain="4")

    server.scripts["count()"] = script
    ran = notebook.run("count()")
    kinds = [kind for _, kind, _ in ran.messages]
    assert kinds.count("display_data") == 1
    assert 2 <= kinds.count("update_display_data") <= 6
    during = [content["data"]["text/html"] for _, _, content in ran.messages if "data" in content]
    assert any('<progress aria-label="Stage 7: count at &lt;cell 1&gt;" max="4" value="3"' in html for html in during)
    assert ran.displays == [{"text/html": "", "text/plain": ""}]
    assert ran.text == "4\n"


def test_an_interrupt_cancels_and_the_next_cell_runs(server: ScriptedGateway, notebook: Notebook) -> None:
    server.scripts["forever()"] = lambda run: None if run.cancelled.wait(20) else ok()
    cell = notebook.send("forever()")
    time.sleep(1)
    notebook.interrupt()
    ran = notebook.finish(cell)
    assert ran.seconds < 2
    assert ran.reply["ename"] == "KeyboardInterrupt"
    assert "the session is ready for the next cell" in ran.reply["evalue"]
    assert notebook.run("1+1").text == "2\n"


def test_an_interrupt_in_the_first_moment_cancels_too(server: ScriptedGateway, notebook: Notebook) -> None:
    sent = len(server.sent("POST", "/cancel"))
    server.scripts["forever()"] = lambda run: None if run.cancelled.wait(20) else ok()
    cell = notebook.send("forever()")
    time.sleep(0.1)
    notebook.interrupt()
    assert notebook.finish(cell).reply["ename"] == "KeyboardInterrupt"
    assert len(server.sent("POST", "/cancel")) == sent + 1


def test_code_that_refuses_to_stop_is_said_to(server: ScriptedGateway, notebook: Notebook) -> None:
    stubborn = time.monotonic() + 3
    server.scripts["stubborn()"] = lambda run: (time.sleep(max(0, stubborn - time.monotonic())), ok())[1]
    cell = notebook.send("stubborn()")
    time.sleep(0.7)
    notebook.interrupt()
    time.sleep(0.5)
    notebook.interrupt()  # a person who does not want to wait any longer
    ran = notebook.finish(cell)
    assert ran.seconds < 2
    assert "the code does not stop" in ran.reply["evalue"]
    assert notebook.run("2+2").text == "4\n"


def test_local_cells_run_here_whatever_stands_above_the_magic(server: ScriptedGateway, notebook: Notebook) -> None:
    before = len(server.sent("POST"))
    assert notebook.run("# here\n\n%%local\nx = 5\nprint(x)").text == "5\n"
    ran = notebook.run("%%local\n\n1/0")
    assert "line 3" in "\n".join(ran.errors[0]["traceback"])
    assert len(server.sent("POST")) == before


ROWS = (
    'sparkyard-rows 3 {"type":"struct","fields":[{"name":"zip","type":"string"},{"name":"n","type":"long"}]}\n'
    '["01234", 9007199254740993]\n["1999.99", null]\n["2020-01-01", 3]'
)


def test_sql_rows_are_a_table_and_a_frame_without_any_guess(server: ScriptedGateway, notebook: Notebook) -> None:
    class Fetches(dict[str, object]):
        def get(self, code: str, default: object = None) -> object:
            return (lambda run: ok(text__plain=ROWS)) if "_sparkyard_fetch" in code else default

    before, server.scripts = server.scripts, Fetches()  # type: ignore[assignment]
    ran = notebook.run("%%sql -o df\nSELECT 'it''s'")
    quiet = notebook.run("%%sql -o df -q\nSELECT 1")
    server.scripts = before
    assert "<table" in ran.html
    assert "01234" in ran.html
    assert ran.text == ""
    assert (quiet.displays, quiet.text) == ([], "")
    assert notebook.run("%%local\nprint(df.zip.tolist(), df.n.tolist())").text == (
        "['01234', '1999.99', '2020-01-01'] [9007199254740993, <NA>, 3]\n"
    )


def test_a_plot_and_its_text_are_both_shown(server: ScriptedGateway, notebook: Notebook) -> None:
    server.scripts["plot()"] = lambda run: ok(text__plain="[<Line2D>]", image__png="iVBORw0KGgo=")
    ran = notebook.run("plot()")
    assert ran.text == "[<Line2D>]\n"
    assert [data["image/png"] for data in ran.displays] == ["iVBORw0KGgo="]


def test_what_was_cut_is_said(server: ScriptedGateway, notebook: Notebook) -> None:
    def script(run: Run) -> dict[str, object]:
        run.change(truncated="The statement printed 5,000,000 characters; 1,000 are kept.")
        return ok(text__plain="x")

    server.scripts["flood()"] = script
    assert "5,000,000 characters" in notebook.run("flood()").text


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%%sql --nope\nSELECT 1", "unrecognized arguments: --nope"),
        ("%%sql\n \n", "needs a query"),
        ("%%cleanup", "-f"),
        ("%%delete -f", "session ID"),
        ("%%info\nsomething", "must be empty"),
        ("%%send_to_spark -i nowhere", "there is no local variable nowhere"),
        ("%%spark -o not-a-name\n1", "is not the name of a variable"),
    ],
)
def test_a_magic_used_wrongly_fails_its_cell_in_a_sentence(notebook: Notebook, cell: str, says: str) -> None:
    ran = notebook.run(cell)
    assert ran.reply["status"] == "error"
    assert says in ran.reply["evalue"]
    assert "File " not in "\n".join(ran.errors[0]["traceback"])


def test_an_indented_cell_runs_as_in_any_notebook(notebook: Notebook) -> None:
    assert notebook.run("    1 + 1").text == "2\n"


def test_help_names_every_magic(notebook: Notebook) -> None:
    html = notebook.run("%%help").html
    for name in ("configure", "sql", "local", "send_to_spark", "cleanup"):
        assert f">{name}</th>" in html


def test_completion_there_and_here(server: ScriptedGateway, notebook: Notebook) -> None:
    server.completion = {"candidates": ["range", "read"], "cursorStart": 6, "cursorEnd": 7}
    assert notebook.complete("spark.r") == ["range", "read"]
    assert "import" in notebook.complete("%%local\nimpor")
    assert "%%send_to_spark" in notebook.complete("%%send")


def test_only_own_sessions_are_shown_and_ended(server: ScriptedGateway, notebook: Notebook) -> None:
    others = {**server.sessions[0], "id": 77, "owner": "eve", "profile": "of-eve"}
    server.sessions[77] = others
    server.statements[77] = []
    info = notebook.run("%%info")
    assert "of-eve" not in info.html
    assert "0 (this notebook&#x27;s)" in info.html
    refused = notebook.run("%%delete -f -s 77")
    assert refused.reply["evalue"] == "you have no session 77; %%info lists yours"
    notebook.run("1+1")
    assert notebook.run("%%cleanup -f").ok
    assert list(server.sessions) == [77]
    assert not any("/77" in path for _, path, _, _ in server.requests)
    assert notebook.run("1+1").text == "2\n"  # a new session


def test_configure_is_checked_before_anything_is_lost(fresh: Start) -> None:
    gateway = ScriptedGateway()
    notebook = fresh(gateway)
    assert notebook.run('%%configure\n{"numExecutors": 2}').ok  # no statement has run yet
    notebook.run("1+1")
    typo = notebook.run('# more\n%%configure -f\n{"executorMemry": "4g"}')
    assert "did you mean executorMemory?" in typo.reply["evalue"]
    gateway.refusal = {"msg": "spark.x is not open in profile 'small'", "key": "spark.x"}
    refused = notebook.run('%%configure -f\n{"conf": {"spark.x": "1"}}')
    assert refused.reply["status"] == "error"
    assert "not open in profile" in refused.reply["evalue"]
    gateway.refusal = None
    assert notebook.run('%%configure\n{"numExecutors": 3}').reply["ename"] == "MagicError"
    session = notebook.run("1+1")
    assert (session.text, session.displays) == ("2\n", [])  # still the same one
    done = notebook.run('%%configure -f\n{"numExecutors": 3, "conf": {"spark.x": 1}}')
    assert done.ok
    assert done.seconds < 3
    notebook.run("1+1")
    assert gateway.sent("POST", "/sessions")[-1][3] == {
        "driverMemory": "2g", "numExecutors": 3, "conf": {"spark.x": "1"}, "profile": "small", "kind": "pyspark",
        "heartbeatTimeoutInSecond": 180,
    }  # fmt: skip


def test_a_504_fails_the_cell_and_sends_the_statement_once(fresh: Start) -> None:
    gateway = AnswersStatementsWith504()
    ran = fresh(gateway).run("1+1")
    assert ran.reply["ename"] == "GatewayError"
    assert len(gateway.sent("POST", "/statements")) == 1


def test_dropped_polls_are_asked_again(fresh: Start) -> None:
    gateway = DropsPolls()
    gateway.scripts["slow()"] = lambda run: (time.sleep(1), ok(text__plain="there"))[1]
    ran = fresh(gateway).run("slow()")
    assert ran.text == "there\n"
    assert len(gateway.sent("POST", "/statements")) == 1


def test_a_failure_to_start_is_said_and_the_next_cell_tries_anew(fresh: Start) -> None:
    gateway = ScriptedGateway()
    gateway.start_failure = "no node has 64 GiB"
    notebook = fresh(gateway)
    ran = notebook.run("1+1")
    assert ran.reply["ename"] == "SessionStartError"
    assert "no node has 64 GiB" in ran.reply["evalue"]
    gateway.start_failure = None
    assert notebook.run("1+1").text == "2\n"


def test_a_session_that_ended_is_said_and_the_next_cell_gets_a_new_one(fresh: Start) -> None:
    gateway = ScriptedGateway()
    notebook = fresh(gateway)
    notebook.run("1+1")
    gateway.sessions[0].update(state="dead", stateReason="the driver ran out of memory (exit code 137).")
    ran = notebook.run("1+1")
    assert ran.reply["ename"] == "SessionEndedError"
    assert "ran out of memory (exit code 137). What was defined in it is lost" in ran.reply["evalue"]
    again = notebook.run("1+1")
    assert again.text == "2\n"
    assert "Spark session 1" in again.html


def test_a_cell_that_was_cancelled_with_its_session_is_told_so(fresh: Start) -> None:
    """Somebody stopped the session on its page: "the session is ready for the next cell" would be wrong."""
    gateway = ScriptedGateway()
    notebook = fresh(gateway)

    def stopped(_run: Run) -> None:
        gateway.sessions[0].update(state="shutting_down", stateReason="ada stopped it.")

    gateway.scripts["forever()"] = stopped
    ran = notebook.run("forever()")
    assert ran.reply["ename"] == "SessionEndedError"
    assert "has ended: ada stopped it. What was defined in it is lost" in ran.reply["evalue"]


def test_a_driver_that_died_in_a_cell_is_told_once(fresh: Start) -> None:
    gateway = ScriptedGateway()
    notebook = fresh(gateway)
    died = {"ename": "SessionDied", "evalue": "The statement was running when its session ended. Its pod was deleted."}

    def dies(_run: Run) -> dict[str, object]:
        gateway.sessions[0].update(state="dead", stateReason="Its pod was deleted.")
        return {"status": "error", "execution_count": 0, "traceback": [], **died}

    gateway.scripts["dies()"] = dies
    ran = notebook.run("dies()")
    assert ran.reply["ename"] == "SessionEndedError"
    assert ran.reply["evalue"].count("Its pod was deleted") == 1


def test_restarting_is_quick_and_ends_the_session(fresh: Start) -> None:
    gateway = ScriptedGateway()
    notebook = fresh(gateway)
    notebook.run("1+1")
    gateway.scripts["forever()"] = lambda run: None if run.cancelled.wait(20) else ok()
    notebook.send("forever()")
    time.sleep(0.5)
    notebook.restart()
    deadline = time.monotonic() + 5
    while list(gateway.sessions) != [1] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(gateway.sessions) == [1]


@pytest.mark.timeout(60)
def test_a_gateway_that_hangs_does_not_keep_a_kernel_from_ending(fresh: Start) -> None:
    gateway = NeverAnswersDelete()
    notebook = fresh(gateway)
    notebook.run("1+1")
    notebook.manager.shutdown_kernel()  # returns, which is what is tested
    assert not notebook.manager.has_kernel


def test_a_killed_kernel_leaves_a_session_that_its_heartbeat_will_end(fresh: Start) -> None:
    gateway = ScriptedGateway()
    notebook = fresh(gateway)
    assert gateway.sent("POST", "/sessions")[0][3]["heartbeatTimeoutInSecond"] == 180
    pid = notebook.manager.provisioner.pid  # type: ignore[union-attr]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_the_token_is_shown_nowhere(fresh: Start) -> None:
    gateway = AnswersStatementsWith504()
    notebook = fresh(gateway)
    shown: list[Ran] = [notebook.run("%%local\n%xmode Verbose")]
    shown += [notebook.run(code) for code in ("1+1", "%%info", "%%logs", "%%sql\nSELECT 1", "%%delete -f -s 9")]
    gateway.close()
    shown += [notebook.run(code) for code in ("%%info", "%%configure -f\n{}")]
    assert any(not ran.ok for ran in shown)
    assert TOKEN not in repr(shown)


def test_outside_of_a_hub_local_cells_work_and_spark_cells_say_why_not(tmp_path: Path) -> None:
    with Notebook("pyspark", {"HOME": str(tmp_path), "SPARKYARD_GATEWAY_URL": ""}, tmp_path) as notebook:
        assert "SPARKYARD_GATEWAY_URL is not set" in notebook.run("1+1").reply["evalue"]
        assert notebook.run("%%local\nprint(6*7)").text == "42\n"


def test_the_sql_kernel_sends_sql(fresh: Callable[..., Notebook]) -> None:
    gateway = ScriptedGateway()
    schema = {"type": "struct", "fields": [{"name": "a", "type": "integer", "nullable": False, "metadata": {}}]}
    gateway.scripts["SELECT 1 AS a"] = lambda run: ok(application__json={"schema": schema, "data": [[1]]})
    notebook = fresh(gateway, "sql")
    ran = notebook.run("SELECT 1 AS a")
    assert "<table" in ran.html
    assert "1 row" in ran.html
    body = gateway.sent("POST", "/statements")[0][3]
    assert (body["code"].strip(), body["kind"]) == ("SELECT 1 AS a", "sql")
    assert notebook.run("%%spark\n1+1").text == "2\n"
    assert gateway.sent("POST", "/statements")[1][3]["kind"] == "pyspark"


def test_an_interrupt_within_a_request_shows_no_header(fresh: Start) -> None:
    gateway = ScriptedGateway()
    gateway.start_seconds = 30
    notebook = fresh(gateway)
    notebook.run("%%local\n%xmode Verbose")
    cell = notebook.send("1+1")
    time.sleep(1.5)
    notebook.interrupt()
    ran = notebook.finish(cell)
    assert ran.reply["ename"] == "KeyboardInterrupt"
    assert "Spark goes on starting" in ran.reply["evalue"]
    gateway.requests.clear()
    gateway.respond = lambda *args: (time.sleep(3), (200, {}))[1]  # type: ignore[method-assign]
    cell = notebook.send("%%logs")
    time.sleep(0.7)
    notebook.interrupt()
    ran = notebook.finish(cell)
    assert ran.reply["evalue"] == "the request to the gateway was interrupted"
    assert TOKEN not in repr(ran)
    assert "Authorization" not in repr(ran)


def test_a_gateway_that_is_away_is_said_while_a_cell_waits(fresh: Start) -> None:
    class GoesAway(ScriptedGateway):
        away = False

        def respond(self, *args: object) -> tuple[int, object]:
            return (503, {}) if self.away else super().respond(*args)  # type: ignore[arg-type]

    def script(run: Run) -> dict[str, object]:
        time.sleep(1.2)
        run.print("half\n")  # which ends the request that was held
        time.sleep(2)
        return ok(text__plain="half\nthere")

    gateway = GoesAway()
    gateway.scripts["slow()"] = script
    notebook = fresh(gateway)
    cell = notebook.send("slow()")
    time.sleep(0.8)
    gateway.away = True
    time.sleep(2)
    gateway.away = False
    ran = notebook.finish(cell)
    assert ran.text == "half\nthere\n"
    said = [content["data"]["text/plain"] for _, _, content in ran.messages if "data" in content]
    assert any("Trying again: the gateway is not available just now (503)" in one for one in said)
