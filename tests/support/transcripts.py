"""What a real Livy 0.9 was asked and answered, read from the recordings beside the project, and how to ask it again."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    file: str
    title: str
    method: str
    path: str
    headers: dict[str, str | None]
    body: str | None
    status: int
    answer_headers: dict[str, str] = field(repr=False)
    answer: str = field(repr=False)

    @property
    def id(self) -> str:
        return f"{self.file}: {self.title}"

    @property
    def json(self) -> Any:
        """The recorded answer; None where it had no body."""
        return json.loads(self.answer) if self.answer else None

    def ask(self, client: httpx.Client, sessions: dict[str, int]) -> httpx.Response:
        """Ask ours the same, with our own sessions for the recorded ones."""
        path = re.sub(
            r"^/(sessions|batches)/(0*)(\d+)", lambda m: f"/{m[1]}/{m[2]}{sessions.get(m[3], m[3])}", self.path
        )
        headers = {name: value for name, value in self.headers.items() if value is not None}
        return client.request(self.method, path, content=self.body, headers=headers)


def exchanges(folder: Path, number: str) -> list[Exchange]:
    """All of one file that are whole: a request with curl and its answer."""
    (file,) = folder.glob(f"{number}_*.txt")
    found = []
    for block in re.split(r"^### ", file.read_text(), flags=re.MULTILINE)[1:]:
        made = _exchange(number, block)
        if made is not None:
            found.append(made)
    return found


def _exchange(number: str, block: str) -> Exchange | None:
    title, _, rest = block.partition("\n")
    match = re.match(r"\$ (curl .*?)\n(HTTP/1\.1 (\d+)[^\n]*\n(.*?)\n\n(.*?))\n?\[curl:", rest, flags=re.DOTALL)
    if match is None:
        return None
    method, headers, body, url = "GET", {}, None, ""
    words = iter(shlex.split(match[1])[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-I":
            method = "HEAD"
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip() or None
        elif word in {"-d", "--data", "--data-binary"}:
            body = next(words)
            method = "POST" if method == "GET" else method
        elif word in {"-o", "-D", "-F"}:
            next(words)
        elif not word.startswith("-"):
            url = word
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    answered = dict(line.split(": ", 1) for line in match[4].splitlines() if ": " in line)
    return Exchange(number, title, method, path, headers, body, int(match[3]), answered, match[5].strip())
