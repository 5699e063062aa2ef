"""Running one statement: send it, show what it prints and how far it is, cancel it when interrupted.

The usual short cell is one request: the gateway answers the POST with the finished statement. A longer one is
followed by requests that the gateway holds until there is something new, so nothing here sleeps and polls.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparkyard_sparkmagic import blocks, screen, transcript
from sparkyard_sparkmagic.errors import (
    GatewayError,
    GatewayUnreachableError,
    Interrupted,
    SessionEndedError,
    SparkyardError,
    StatementError,
)
from sparkyard_sparkmagic.gateway import Gateway
from sparkyard_sparkmagic.interrupts import held
from sparkyard_sparkmagic.keeper import SessionKeeper
from sparkyard_sparkmagic.session import Session

FINAL = frozenset({"available", "cancelled", "error"})
AT_ONCE = 0.3  # seconds the POST may wait for a short statement to finish
LONG = 5.0  # seconds between two looks at a statement that is silent, so that its clock goes on
TO_STOP = 12.0  # seconds an interrupted statement has to stop before we say that it doesn't
PLAIN = "text/plain"


@dataclass(frozen=True)
class Result:
    """A statement that went well."""

    data: Mapping[str, Any] = field(default_factory=dict)
    streamed: str = ""
    truncated: str | None = None
    echo: str = ""  # the part of its text that stands for a value which `data` has in a richer form as well

    @property
    def text(self) -> str:
        """All of its text, streamed or not."""
        return str(self.data.get(PLAIN) or "")

    @property
    def unseen(self) -> str:
        """The text that has not been shown yet."""
        before, found, after = self.text.rpartition(self.echo) if self.echo else ("", "", self.text)
        return transcript.rest(self.streamed, before + after.lstrip("\n") if found else self.text)


def located(output: Mapping[str, Any], traceback: list[str]) -> list[str]:
    """The traceback with the line of the cell, which Livy leaves out, where it is known and not told already."""
    trace = output.get("trace")
    line = trace.get("line") if isinstance(trace, Mapping) else None
    told = [str(output.get("evalue") or ""), *traceback]
    if not isinstance(line, int) or any(re.search(rf"\bline {line}\b|<console>:{line}\b", each) for each in told):
        return traceback
    place = 1 if traceback and traceback[0].startswith("Traceback ") else 0
    return [*traceback[:place], f"  in line {line} of the code\n", *traceback[place:]]


class Statement:
    """One run of some code in a session."""

    def __init__(self, keeper: SessionKeeper, session: Session, *, quiet: bool = False) -> None:
        assert session.view is not None
        self._keeper = keeper
        self._gateway: Gateway = keeper.gateway
        self._session = session
        self._session_id = session.view.id
        self._quiet = quiet
        self._began = time.monotonic()
        self._block = screen.Block()
        self._number: int | None = None
        self._offset = 0
        self._version = 0
        self._streamed: list[str] = []

    def run(self, code: str, kind: str) -> Result:
        """Run `code` to its end. Raises StatementError, Interrupted, SessionEndedError, or what the gateway said."""
        try:
            answer = self._submit(code, kind)
            while answer["state"] not in FINAL:
                answer = self._follow(wait=LONG)
        except KeyboardInterrupt:
            raise self._cancelled() from None
        finally:
            self._block.clear()
        return self._result(answer)

    def _submit(self, code: str, kind: str) -> dict[str, Any]:
        self._session.used = True
        try:
            with held():
                answer = self._gateway.submit(self._session_id, code, kind, wait=AT_ONCE)
                self._number = int(answer["id"])
        except GatewayError as refusal:
            raise self._reason(refusal) from None
        self._take(answer)
        return answer

    def _follow(self, wait: float, patience: float = 120) -> dict[str, Any]:
        assert self._number is not None
        asked = time.monotonic()
        try:
            answer = self._gateway.statement(
                self._session_id, self._number, wait=wait, since=self._offset, seen=self._version, patience=patience,
                on_retry=lambda why: self._block.offer(blocks.saying(f"Trying again: {why}")),
            )  # fmt: skip
        except GatewayError as refusal:
            raise self._reason(refusal) from None
        if "version" not in answer and time.monotonic() - asked < wait:
            time.sleep(0.1)  # a plain Livy answers at once, whatever it is asked
        self._take(answer)
        return answer

    def _take(self, answer: Mapping[str, Any]) -> None:
        stream = answer.get("stream") or {}
        text = str(stream.get("text") or "")
        if text:
            self._streamed.append(text)
            if not self._quiet:
                screen.write(text)
        self._offset = int(stream.get("next") or self._offset)
        self._version = int(answer.get("version") or self._version)
        if answer["state"] not in FINAL:
            seconds = time.monotonic() - self._began
            if answer["state"] == "waiting":
                self._block.offer(blocks.saying(f"Waiting for {seconds:.0f} s: an earlier statement still runs"))
            else:
                stages = answer.get("stages") or ()
                self._block.offer(blocks.running(stages, float(answer.get("progress") or 0), seconds))

    def _result(self, answer: Mapping[str, Any]) -> Result:
        if answer["state"] == "cancelled":  # and not from here: by somebody else, or with its session
            raise self._ended() or Interrupted("the statement was cancelled; the session is ready for the next cell")
        output = answer.get("output") or {}
        streamed = "".join(self._streamed)
        result = Result(output.get("data") or {}, streamed, answer.get("truncated"), str(output.get("echo") or ""))
        if output.get("status") == "error":
            if result.unseen and not self._quiet:  # what it printed before it failed
                screen.write(result.unseen + "\n")
            raise self._failure(output)
        return result

    def _reason(self, refusal: GatewayError) -> SparkyardError:
        """Why the gateway refused: most often because the session is over."""
        if refusal.status in (400, 404):
            return self._ended(refusal) or refusal
        return refusal

    def _failure(self, output: Mapping[str, Any]) -> SparkyardError:
        evalue = str(output.get("evalue") or "")
        traceback = [str(line) for line in output.get("traceback") or ()]
        failure = StatementError.named(str(output.get("ename") or "Error"), evalue, located(output, traceback))
        ended = self._ended()
        if ended is not None and type(failure).__name__ == "SessionDied":
            return ended  # which has said all of it
        if ended is not None:
            return SessionEndedError(f"{ended}\n{type(failure).__name__}: {evalue}")
        return failure

    def _ended(self, refusal: GatewayError | None = None) -> SessionEndedError | None:
        try:
            return self._keeper.ended(self._session, refusal)
        except SparkyardError:
            return None

    def _cancelled(self) -> Interrupted:
        """Cancel, see it stop, and say what became of it."""
        if self._number is None:
            return Interrupted("nothing was sent, or the gateway did not answer in time to be told to cancel it")
        try:
            self._block.show(blocks.saying("Cancelling the statement ..."))
            self._gateway.cancel(self._session_id, self._number)
            deadline = time.monotonic() + TO_STOP
            while (left := deadline - time.monotonic()) > 0:
                if self._follow(wait=min(left, 1.0), patience=5)["state"] in FINAL:
                    return Interrupted("the statement was cancelled; the session is ready for the next cell")
        except KeyboardInterrupt:
            pass
        except SessionEndedError as ended:
            return Interrupted(str(ended))
        except GatewayUnreachableError as problem:
            return Interrupted(f"{problem}: whether the statement was cancelled is not known")
        except SparkyardError as problem:
            return Interrupted(f"the statement could not be cancelled: {problem}")
        return Interrupted(
            f"the code does not stop. It was told to, {TO_STOP:.0f} seconds ago at most, and may be in a call that "
            "cannot be interrupted, or catches the interrupt. Later cells wait until it ends; restarting the kernel "
            "ends it now, with everything defined in the session"
        )
