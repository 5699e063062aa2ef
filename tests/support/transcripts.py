"""What a real Livy 0.9 was asked and answered, read from the recordings beside the project.

Two kinds of file: what was asked with curl, each exchange under a title; and what Sparkmagic was seen to ask, one after
another. Sparkmagic polls: of equal GETs between two requests that change something only the last is an exchange here,
the others were its polls.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

RECORDED = Path(__file__).parents[2].parent / "shared" / "livy-transcripts"


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer; `status` is 0 for a note that is no request."""

    file: str
    title: str
    method: str = ""
    path: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    body: str | None = None
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict, repr=False)
    answer: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        return f"{self.file}: {self.title}"

    @property
    def whole(self) -> bool:
        """Whether the recording has all of the answer."""
        return not re.search(r"\.\.\.\[(cut )?\d+ (bytes|characters)\]", self.answer)

    def ask(self, client: httpx.Client, sessions: dict[str, int]) -> httpx.Response:
        """Ask ours the same, with our own sessions for the recorded ones."""
        path = re.sub(
            r"^/(sessions|batches)/(0*)(\d+)", lambda m: f"/{m[1]}/{m[2]}{sessions.get(m[3], m[3])}", self.path
        )
        headers = {name: value for name, value in self.headers.items() if value is not None}
        return client.request(self.method, path, content=self.body, headers=headers)

    @property
    def json(self) -> Any:
        """The recorded answer; None where it had no body, no JSON, or not all of it."""
        try:
            return json.loads(self.answer) if self.whole else None
        except ValueError:
            return None


def numbers() -> list[str]:
    """Of the files that there are."""
    return sorted(file.name[:2] for file in RECORDED.glob("[0-9][0-9]_*.txt")) if RECORDED.is_dir() else []


def exchanges(folder: Path, number: str) -> list[Exchange]:
    """All of one file, under titles that tell them apart."""
    (file,) = folder.glob(f"{number}_*.txt")
    text = file.read_text()
    found = list(_of_curl(number, text) if text.lstrip("#").find("### ") >= 0 else _of_sparkmagic(number, text))
    seen: Counter[str] = Counter()
    for position, each in enumerate(found):
        seen[each.title] += 1
        if seen[each.title] > 1:
            found[position] = replace(each, title=f"{each.title} ({seen[each.title]})")
    return found


def _of_curl(number: str, text: str) -> Iterator[Exchange]:
    for block in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = block.partition("\n")
        match = re.match(r"\$ (curl .*?)\n(HTTP/1\.1 (\d+)[^\n]*\n(.*?)\n\n(.*?))\n?\[curl:", rest, flags=re.DOTALL)
        if match is None:
            yield Exchange(number, title)
            continue
        method, headers, body, url = "GET", {}, None, ""
        words = iter(shlex.split(match[1])[1:])
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-I":
                method = "HEAD"
            elif word == "-H":
                name, _, value = next(words).rstrip(";").partition(":")
                headers[name] = value.strip() or None
            elif word in {"-d", "--data", "--data-binary"}:
                body = next(words)
                method = "POST" if method == "GET" else method
            elif word in {"-o", "-D", "-F"}:
                next(words)
            elif not word.startswith("-"):
                url = word
        answered = dict(line.split(": ", 1) for line in match[4].splitlines() if ": " in line)
        yield Exchange(number, title, method, _path(url), headers, body, int(match[3]), answered, match[5].strip())


def _of_sparkmagic(number: str, text: str) -> Iterator[Exchange]:
    found = []
    for block in re.split(r"^--- +[\d.]+s  ", text, flags=re.MULTILINE)[1:]:
        method, path = block.split(" ", 2)[:2]
        sent = re.findall(r"^    > (.*)$", block, flags=re.MULTILINE)
        got = re.findall(r"^    < (.*)$", block, flags=re.MULTILINE)
        headers = dict(line.split(": ", 1) for line in sent if re.match(r"[\w-]+: ", line))
        kept = {name: value for name, value in headers.items() if name in {"Accept", "Content-Type", "X-Requested-By"}}
        body = "\n".join(line for line in sent if not re.match(r"[\w-]+: ", line)) or None
        status, answer = int(got[0].split()[0]), "\n".join(got[1:])
        made = Exchange(number, f"{method} {path}", method, path, kept, body, status, {}, answer)
        found.append(made)
    for position, each in enumerate(found):
        if not (each.method == "GET" and _asked_again(each, found[position + 1 :])):
            yield each


def _asked_again(poll: Exchange, later: list[Exchange]) -> bool:
    for each in later:
        if each.method != "GET":
            return False
        if each.path == poll.path:
            return True
    return False


def _path(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
