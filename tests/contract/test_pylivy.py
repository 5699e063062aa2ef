"""pylivy (PyPI `livy`), unchanged, does its real work against our gateway."""

import pandas as pd
import pytest
import requests
from livy import LivySession, SessionKind, SessionState, SparkRuntimeError
from livy.client import LivyClient
from livy.models import StatementKind, StatementState

from support import running_gateway
from support.running_gateway import TOKEN

pytestmark = pytest.mark.spark


class HubToken(requests.auth.AuthBase):
    """The one thing a client of ours needs: the hub's token in a header."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"token {TOKEN}"
        return request


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running_gateway.running(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway.url


def test_a_session_with_code_data_frames_and_an_error(url):
    with LivySession.create(url, auth=HubToken(), kind=SessionKind.PYSPARK, name="pylivy") as session:
        session.wait()
        assert session.state is SessionState.IDLE
        output = session.run("print('hello')\n40 + 2")
        assert output.text.endswith("42")
        session.run("frame = spark.createDataFrame([(1, 'a'), (2, 'b')], ['n', 'word'])")
        pd.testing.assert_frame_equal(
            session.download("frame"), pd.DataFrame({"n": [1, 2], "word": ["a", "b"]}), check_dtype=False
        )
        session.upload("sent", pd.DataFrame({"x": [1, 2, 3]}))
        assert session.run("sent.count()").text == "3"
        with pytest.raises(SparkRuntimeError, match="division by zero") as failed:
            session.run("1/0")
        assert failed.value.ename == "ZeroDivisionError"
        number = session.session_id
    assert LivyClient(url, auth=HubToken()).get_session(number) is None


def test_a_session_of_sql(url):
    with LivySession.create(url, auth=HubToken(), kind=SessionKind.SQL) as session:
        session.wait()
        session.run("create or replace temporary view three as select id, id * 2 as twice from range(3)")
        frame = session.download_sql("select * from three order by id")
        assert frame.to_dict("list") == {"id": [0, 1, 2], "twice": [0, 2, 4]}
        with pytest.raises(SparkRuntimeError, match="TABLE_OR_VIEW_NOT_FOUND"):
            session.download_sql("select * from nosuch")
        # Another kind of code in the same session: it sees the same view.
        client = LivyClient(url, auth=HubToken())
        statement = client.create_statement(session.session_id, "spark.table('three').count()", StatementKind.PYSPARK)
        while statement.state is not StatementState.AVAILABLE:
            statement = client.get_statement(session.session_id, statement.statement_id)
        assert statement.output.text == "3"


def test_what_is_refused_comes_as_the_error_of_its_client(url):
    client = LivyClient(url, auth=HubToken())
    with pytest.raises(requests.HTTPError) as refused:
        client.create_session(SessionKind.PYSPARK, spark_conf={"spark.master": "local[9]"})
    assert refused.value.response.status_code == 400
    assert "spark.master" in refused.value.response.json()["msg"]
    with pytest.raises(requests.HTTPError) as unknown:
        client.create_statement(999_999, "1")
    assert unknown.value.response.status_code == 404
    assert client.get_session(999_999) is None
    assert client.list_sessions() == []
    with pytest.raises(requests.HTTPError) as stranger:
        LivyClient(url).list_sessions()
    assert stranger.value.response.status_code == 401


def test_the_client_lists_gets_and_ends(url):
    client = LivyClient(url, auth=HubToken())
    assert not client.legacy_server()
    session = client.create_session(SessionKind.PYSPARK)
    assert session.state is SessionState.STARTING
    assert [each.session_id for each in client.list_sessions()] == [session.session_id]
    statement = client.create_statement(session.session_id, "6 * 7")
    while statement.state is not StatementState.AVAILABLE:
        statement = client.get_statement(session.session_id, statement.statement_id)
    assert statement.output.text == "42"
    assert [each.code for each in client.list_statements(session.session_id)] == ["6 * 7"]
    client.delete_session(session.session_id)
    assert client.list_sessions() == []
