import json

from sparkyard_gateway.driver.limits import fit, weight
from sparkyard_gateway.driver.reply import Reply, failure


def test_what_fits_is_left_alone() -> None:
    reply = Reply(data={"text/plain": "x" * 100})
    fit(reply, 1000)
    assert (len(reply.data["text/plain"]), reply.truncated) == (100, [])


def test_text_is_cut_in_the_middle() -> None:
    reply = Reply(data={"text/plain": "a" * 50_000 + "z" * 50_000})
    fit(reply, 30_000)
    assert weight(reply) <= 30_000
    assert reply.data["text/plain"].startswith("aaa")
    assert reply.data["text/plain"].endswith("zzz")
    assert reply.truncated == ["The text was cut to fit into 30,000 bytes."]


def test_what_goes_is_kept_elsewhere_whole_if_somebody_keeps_it() -> None:
    kept: dict[str, object] = {}

    def keep(mime: str, value: object) -> str:
        kept.setdefault(mime, value)
        return f"there ({mime})"

    picture, text = "A" * 90_000, "x" * 50_000
    reply = Reply(data={"image/png": picture, "text/plain": text})
    fit(reply, 30_000, keep)
    assert kept == {"image/png": picture, "text/plain": text}
    assert reply.truncated == [
        (
            "The output of type image/png had more than 30,000 bytes and was left out. "
            "It is kept while the session lives: there (image/png)."
        ),
        "The text was cut to fit into 30,000 bytes. It is kept while the session lives: there (text/plain).",
    ]


def test_text_counts_by_its_bytes() -> None:
    reply = Reply(data={"text/plain": "世" * 20_000})
    fit(reply, 30_000)
    assert len(json.dumps(reply.data, ensure_ascii=False).encode()) <= 30_000


def test_a_heavy_picture_goes_and_its_text_stays() -> None:
    reply = Reply(data={"image/png": "A" * 50_000, "text/plain": "a plot"})
    fit(reply, 30_000)
    assert reply.data == {"text/plain": "a plot"}
    assert reply.truncated == ["The output of type image/png had more than 30,000 bytes and was left out."]


def test_a_heavy_exception_is_cut() -> None:
    reply = failure("ValueError", "v" * 500_000, ["t" * 500_000] * 3)
    fit(reply, 100_000)
    assert weight(reply) <= 100_000
    assert reply.error is not None
    assert reply.error["ename"] == "ValueError"
    assert reply.truncated
