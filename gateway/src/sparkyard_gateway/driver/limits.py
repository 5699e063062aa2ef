"""Keep a reply within what one message may weigh, and say what was left out."""

from __future__ import annotations

import json
from typing import Any, Callable, List, Optional

from .reply import Reply

Keep = Callable[[str, Any], Optional[str]]
"""Given a type and a value that has to go, keeps it elsewhere and says where."""


def fit(reply: Reply, limit: int, keep: Optional[Keep] = None) -> None:
    """Cut or drop the heaviest parts until the reply's JSON has no more than `limit` bytes."""
    if _rough(reply) < limit:
        return  # cannot be over, and measuring costs
    while weight(reply) > limit:
        mime = max(reply.data, key=lambda key: _bytes(reply.data[key]), default=None)
        error = reply.error
        if mime is not None and (error is None or _bytes(reply.data[mime]) >= _bytes(error)):
            value = reply.data[mime]
            where = keep(mime, value) if keep is not None else None
            kept = f" It is kept while the session lives: {where}." if where else ""
            if mime == "text/plain" and isinstance(value, str) and len(value) > 2000:
                reply.data[mime] = _middle_out(value, max(1000, len(value) // 2))
                _say(reply, f"The text was cut to fit into {limit:,} bytes.{kept}")
            else:
                del reply.data[mime]
                _say(reply, f"The output of type {mime} had more than {limit:,} bytes and was left out.{kept}")
        elif error is not None:
            before = _bytes(error)
            error["evalue"] = _middle_out(str(error["evalue"]), 10_000)
            error["traceback"] = [_middle_out(line, 10_000) for line in error["traceback"][:50]]
            error.pop("trace", None)
            _say(reply, f"The exception's text was cut to fit into {limit:,} bytes.")
            if _bytes(error) >= before:
                return
        else:
            return


def _say(reply: Reply, sentence: str) -> None:
    if sentence not in reply.truncated:
        reply.truncated.append(sentence)


def _middle_out(text: str, keep: int) -> str:
    if len(text) <= keep:
        return text
    half = keep // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"


def _rough(reply: Reply) -> int:
    """An upper bound that costs little: a character takes six bytes of JSON at most."""
    total = 0
    for value in [*reply.data.values(), *(reply.error or {}).values()]:
        if isinstance(value, str):
            total += 6 * len(value)
        elif isinstance(value, list) and len(value) < 1000 and all(isinstance(item, str) for item in value):
            total += sum(6 * len(item) for item in value)
        else:
            total += _bytes(value)
    return total


def weight(reply: Reply) -> int:
    """The bytes of a reply as JSON."""
    parts: List[Any] = [reply.data, reply.error]
    return sum(_bytes(part) for part in parts)


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))
