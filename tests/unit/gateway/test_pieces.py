"""The route that fetches long outputs, with simulated drivers. As the wrong person: test_ownership.py."""

from .conftest import new_session, run


def test_an_output_is_fetched_in_pieces(as_alice) -> None:
    session = new_session(as_alice)
    run(as_alice, session, "1")
    number = run(as_alice, session, "2")["id"]
    path = f"/sessions/{session}/statements/{number}/output"
    first = as_alice.get(f"{path}?size=4").json()
    assert first == {"id": 1, "type": "text/plain", "from": 0, "next": 4, "total": 9, "text": "kept"}
    rest = as_alice.get(f"{path}?from=4").json()
    assert (rest["from"], rest["next"], rest["text"]) == (4, 9, " of 1")
    assert as_alice.get(f"{path}?from=x").status_code == 400
    assert as_alice.get(f"{path}?from=-5&size=-1").json()["text"] == ""

    other = as_alice.get(f"{path}?type=image/png")
    assert other.status_code == 404
    assert "Nothing of type image/png is kept of statement 1" in other.json()["msg"]
    assert as_alice.get(f"/sessions/{session}/statements/99/output").json() == "Statement not found"

    as_alice.post(f"/sessions/{session}/stop")
    ended = as_alice.get(path)
    assert ended.status_code == 400
    assert "kept while their session lives" in ended.json()["msg"]
    as_alice.delete(f"/sessions/{session}")
