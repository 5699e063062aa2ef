"""Nothing that opens a door reaches the log."""

import json
import logging

import pytest
import structlog

from sparkyard_gateway.logs import Owners, configure, strike_out, tell_exceptions


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        ({"token": "abc"}, {"token": "***"}),
        ({"Authorization": "token abc"}, {"Authorization": "***"}),
        ({"event": "called with token 0123456789abcdef"}, {"event": "called with token ***"}),
        ({"error": "Bearer eyJhbGciOi.eyJzdWIi.sig-x_y"}, {"error": "Bearer ***"}),
        ({"event": "the token was refused", "session": 3}, {"event": "the token was refused", "session": 3}),
    ],
)
def test_struck_out(event, kept):
    assert strike_out(None, "info", dict(event)) == kept


def _fail(words: str) -> None:
    raise ValueError(words)


def test_an_exception_is_told_by_types_and_frames_and_not_by_its_words():
    def fail():
        try:
            _fail("s3cr3t")
        except ValueError as error:
            raise KeyError("s3cr3t too") from error

    try:
        fail()
    except KeyError as error:
        told = tell_exceptions(None, "error", {"event": "failed", "exc_info": error})["exception"]
    assert told.splitlines()[0] == "builtins.ValueError"
    assert "which led to" in told
    assert "builtins.KeyError" in told
    assert "test_logs.py" in told
    assert "s3cr3t" not in told
    full = OSError(28, "No space left on device", "/home/s3cr3t")
    assert tell_exceptions(None, "error", {"event": "x", "exc_info": full})["exception"].endswith("left on device")


def test_a_librarys_line_is_json_and_told_the_same(capsys):
    configure("info", "json")
    try:
        try:
            _fail("s3cr3t")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("it broke\nwith s3cr3t")
        line = json.loads(capsys.readouterr().err)
    finally:
        logging.basicConfig(handlers=[], force=True)
    assert (line["event"], line["level"]) == ("it broke", "error")
    assert "ValueError" in line["exception"]
    assert "s3cr3t" not in json.dumps(line)


def test_a_line_about_a_session_names_its_owner():
    owners = Owners()
    owners.of = {7: "alice"}.get
    with structlog.contextvars.bound_contextvars(user="ada"):
        assert owners(None, "info", {"session": 7}) == {"session": 7, "user": "alice", "by": "ada"}
        assert owners(None, "info", {"session": 7, "user": "alice"}) == {"session": 7, "user": "alice", "by": "ada"}
    assert owners(None, "info", {"session": 7}) == {"session": 7, "user": "alice"}
    assert owners(None, "info", {"session": 8}) == {"session": 8}
    assert owners(None, "info", {"session": "x"}) == {"session": "x"}
