"""Complete Scala by the interpreter's own presentation compiler, which knows types, imports and implicits.

It is a second compiler beside the interpreter, so it is asked only while no Scala statement runs. Meanwhile, and where
it finds nothing in code that is not whole, only names that are certain are offered: those defined so far and
keywords, and behind a dot nothing.
"""

from __future__ import annotations

import re
import threading
from typing import Any, List

from .completion import Found, Match
from .scala_repl import LazyRepl, ScalaRepl

_WORD = re.compile(r"[^\W\d]?\w*$")
_NAME = re.compile(r"[^\W\d]\w*$")
_OURS = re.compile(r"^(?:res\d+|\$|sparkyard$)")
_IDLE_SECONDS = 0.2
_WORDS = (
    "abstract case catch class def do else extends false final finally for forSome if implicit import lazy match new "
    "null object override package private protected return sealed super this throw trait try true type val var while "
    "with yield"
)


class ScalaCompleter:
    """Candidates by Scala's presentation compiler."""

    def __init__(self, repl: LazyRepl, busy: threading.Lock) -> None:
        self._repl = repl
        self._busy = busy
        self._names: List[str] = []
        self._completer: Any = None

    def __call__(self, code: str, cursor: int) -> Found:
        """Candidates for what stands before the cursor."""
        before = code[:cursor]
        word = _WORD.search(before)
        prefix = word.group() if word else ""
        start = cursor - len(prefix)
        repl = self._repl.made
        if repl is None:
            self._repl.warm()  # somebody is about to write Scala
        found: List[str] = []
        if repl is not None and self._busy.acquire(timeout=_IDLE_SECONDS):
            try:
                found = self._ask(repl, before)
                self._names = _lines(repl.interpreter.unqualifiedIds())
            finally:
                self._busy.release()
        matches = [Match(name, "instance") for name in _starting(found, prefix)]
        if not matches and not before[:start].rstrip().endswith("."):
            matches = [Match(name, "instance") for name in _starting(self._names, prefix)]
            matches += [Match(name, "keyword") for name in _starting(_WORDS.split(" "), prefix) if prefix]
        return Found(start, cursor, matches)

    def _ask(self, repl: ScalaRepl, before: str) -> List[str]:
        for code in dict.fromkeys((before, before[before.rfind("\n") + 1 :], _chain(before))):
            if code.strip():
                found = self._candidates(repl, code)
                if found:
                    return found
        return []

    def _candidates(self, repl: ScalaRepl, code: str) -> List[str]:
        if repl.old:
            if self._completer is None:
                interpreter = repl.jvm.scala.tools.nsc.interpreter
                self._completer = interpreter.PresentationCompilerCompleter(repl.interpreter)
            names = _lines(self._completer.complete(code, len(code)).candidates())
        else:
            either = repl.interpreter.presentationCompile(len(code), code)
            if not either.isRight():
                return []
            result = either.right().get()
            names = _lines(result.candidates(1).productElement(1))
            result.cleanup()
        repl.take_said()
        return names


def _chain(before: str) -> str:
    """What stands behind the last bracket that is still open, as `xs.map(x => x.`, which is nothing whole."""
    depth, place = 0, len(before)
    while place > 0:
        character = before[place - 1]
        if character in ")]}":
            depth += 1
        elif character in "([{":
            if not depth:
                break
            depth -= 1
        place -= 1
    return before[place:].lstrip()


def _starting(names: List[str], prefix: str) -> List[str]:
    chosen = {name for name in names if name.startswith(prefix) and _NAME.match(name) and not _OURS.match(name)}
    return sorted(chosen, key=lambda name: (name.lower(), name))


def _lines(names: Any) -> List[str]:
    return [name.strip() for name in str(names.mkString("\n")).split("\n") if name.strip()]
