"""Scala's own interpreter in Spark's JVM, made at the first need, and driven through Py4J.

`spark-repl` and Scala's compiler come with every Spark. Their `IMain` compiles a chunk and runs it; what it needs
beside it on the JVM's side (a thread, the output, stopping) is `scala_shell.scala`. Where Scala 2.12 and 2.13 differ,
the difference is here.

Words used here:

    chunk    code that is compiled as a whole
    request  the interpreter's record of a chunk, whose classes are in a package `$lineN`
"""

from __future__ import annotations

import codecs
import os
import threading
from typing import Any, Callable, Dict, List, Optional

from .java_errors import root_message
from .scala_chunks import Incomplete, Tops, Unparsable
from .scala_errors import Place, wrapped

CLASSES = "scala-classes"
"""The folder within the driver's own where the classes of cells are; executors load them from the driver."""
_SHELL = "scala_shell.scala"
_PIPE_BYTES = 1024 * 1024
_TAKE_MS = 250
_PRELUDE = """\
@transient val spark = _root_.sparkyard.shell.Shell.spark
@transient val sc = _root_.sparkyard.shell.Shell.sc
import org.apache.spark.SparkContext._
import spark.implicits._
import spark.sql
import org.apache.spark.sql.functions._
"""


class NoScala(Exception):  # noqa: N818  reads as what is wrong
    """There is no Scala here; the message says what the image lacks."""


def settings_for_scala(home: str, work_dir: str) -> Dict[str, str]:
    """What Spark must know before it starts, if it is to run Scala at all. Costs nothing until there is a class."""
    jars = os.path.join(home, "jars")
    try:
        found = any(name.startswith("spark-repl_") for name in os.listdir(jars))
    except OSError:
        found = False
    if not found:
        return {}
    folder = os.path.join(work_dir, CLASSES)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return {"spark.repl.class.outputDir": folder}


def shell_source() -> str:
    """The JVM's half; the driver may run from a folder or from a zip file."""
    here = os.path.join(os.path.dirname(__file__), _SHELL)
    text: bytes = __loader__.get_data(here)  # type: ignore[name-defined]
    return text.decode("utf-8")


class ScalaRepl:
    """One interpreter; its methods are called by one thread at a time, but for `interrupt` and `stop`."""

    def __init__(self, session: Any) -> None:
        context = session.sparkContext
        jvm = self.jvm = context._jvm  # noqa: SLF001  pyspark has no public word for it
        folder = context.getConf().get("spark.repl.class.outputDir", "")
        if not folder:
            raise NoScala("this session's image has no Scala interpreter: its Spark lacks the jar spark-repl")
        self._lines: Dict[str, Any] = {}
        self.old = str(jvm.scala.util.Properties.versionNumberString()).startswith("2.12.")
        self._said = jvm.java.io.StringWriter()
        try:
            self.interpreter = self._make(folder, context)
            self._shell = self._compile_shell()
        except NoScala:
            raise
        except Exception as error:
            raise NoScala(f"Scala's interpreter did not start: {root_message(error)}") from error
        self.interpreter.setExecutionWrapper("_root_.sparkyard.shell.Shell.execute")
        self.bind(session)

    def bind(self, session: Any) -> None:
        """Let `spark` and `sc` be this session's, in Scala as in Python. Raises NoScala."""
        getattr(self._shell, "spark_$eq")(session._jsparkSession)  # noqa: SLF001  pyspark has no public word for it
        getattr(self._shell, "sc_$eq")(session.sparkContext._jsc.sc())  # noqa: SLF001  likewise
        self.take_said()
        if str(self.interpreter.interpret(_PRELUDE).toString()) != "Success":
            raise NoScala(f"Scala's interpreter did not start: {self.take_said().strip()}")
        self.take_said()
        self.session = session

    def _make(self, folder: str, context: Any) -> Any:
        jvm = self.jvm
        settings = jvm.scala.tools.nsc.Settings()
        # Jars of the session's are in the loader of the context alone, and the compiler has to be told of them.
        settings.embeddedDefaults(jvm.java.lang.Thread.currentThread().getContextClassLoader())
        options = ["-Yrepl-class-based", "-Yrepl-outdir", folder, "-usejavacp"]
        jars = [str(jar) for jar in (context.getConf().get("spark.repl.local.jars", "") or "").split(",") if jar]
        if jars:
            options += ["-classpath", os.pathsep.join(jar[5:] if jar.startswith("file:") else jar for jar in jars)]
        settings.processArguments(self._list(options), True)
        writer = jvm.java.io.PrintWriter(self._said, True)
        if self.old:
            interpreter = jvm.scala.tools.nsc.interpreter.IMain(settings, writer)
            interpreter.initializeSynchronous()
        else:
            reporter = jvm.scala.tools.nsc.interpreter.shell.ReplReporterImpl(settings, writer)
            interpreter = jvm.scala.tools.nsc.interpreter.IMain(settings, reporter)
            interpreter.initializeCompiler()
        return interpreter

    def _compile_shell(self) -> Any:
        if not self.interpreter.compileString(shell_source()):
            raise NoScala(f"Scala's interpreter did not start: {self.take_said().strip()}")
        self.take_said()
        return self.interpreter.classLoader().loadClass("sparkyard.shell.Shell$").getField("MODULE$").get(None)

    def _list(self, items: List[str]) -> Any:
        values = self.jvm.java.util.ArrayList()
        for item in items:
            values.add(item)
        return self.jvm.org.apache.spark.api.python.PythonUtils.toSeq(values).toList()

    # One chunk

    def parse(self, code: str) -> Tops:
        """What stands at the top level of some code. Raises Incomplete or Unparsable."""
        self.take_said()
        if self.old:
            parsed = self.interpreter.parse().apply(code)
            kind = str(parsed.toString())
            trees = parsed.trees() if kind.startswith("Success") else None
        else:
            either = self.interpreter.parse(code)
            kind = str(either.toString()) if either.isLeft() else "Success"
            trees = either.right().get().productElement(0) if either.isRight() else None
        said = self.take_said()
        if trees is None:
            if "Incomplete" in kind:
                raise Incomplete
            raise Unparsable(said)
        kinds = [part.rpartition("@") for part in str(self._shell.kinds(trees)).split(" ") if part]
        return [(kind, int(place)) for kind, _, place in kinds]

    def run(self, code: str, printed: Callable[[str], None]) -> bool:
        """Compile and run a chunk, and say whether that went well; `printed` gets its output as it comes."""
        self.take_said()
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._shell.start(self.interpreter, code, _PIPE_BYTES)
        while True:
            text = decoder.decode(bytes(self._shell.take(_TAKE_MS)))
            if text:
                printed(text)
            elif self._shell.drained():
                break
            else:
                printed("")
        return str(self._shell.result()) == "Success"

    def take_said(self) -> str:
        """What the interpreter itself has said since the last time: values, warnings, errors."""
        text = str(self._said.toString())
        if text:
            self._said.getBuffer().setLength(0)
        return text

    def told(self) -> str:
        """What was thrown, as `scala_errors.thrown` reads it; empty if nothing was."""
        return str(self._shell.told())

    def remember(self, statement: int, first: int, code: str) -> str:
        """Which cell the chunk was that has just run, for stack traces to come."""
        request = self.interpreter.lastRequest()
        package = str(request.lineRep().packageName())
        self._lines[package] = (request, statement, first, code)
        return package

    def remember_failed(self, package: str, statement: int, first: int, code: str) -> None:
        """The same of a chunk that threw: the interpreter has forgotten its request."""
        self._lines[package] = self.place_of_failed(statement, first, code)

    def place_of(self, package: str) -> Optional[Place]:
        """The place of the chunk whose classes are in this package."""
        known = self._lines.get(package)
        if known is None or isinstance(known, Place):
            return known
        request, statement, first, code = known
        place = self._lines[package] = self._place(request, statement, first, code)
        return place

    def place_of_failed(self, statement: int, first: int, code: str) -> Place:
        """The place of a chunk that failed, whose request is gone: one like it is made."""
        if not self.old:
            return Place(statement, first)
        either = self.interpreter.requestFromLine(code, False)
        self.take_said()
        if not either.isRight():
            return Place(statement, first)
        return self._place(either.right().get(), statement, first, code)

    def _place(self, request: Any, statement: int, first: int, code: str) -> Place:
        if not self.old:
            return Place(statement, first)  # positions are those of the code itself
        source = request.ObjectSourceCode()
        return wrapped(statement, first, code, str(request.toCompute()), str(source.preamble()))

    def json_of(self, name: str) -> Optional[str]:
        """The JSON of what a name stands for, or None."""
        value = self.interpreter.valueOfTerm(name)
        return None if value.isEmpty() else str(self._shell.json(value.get()))

    # From other threads

    def interrupt(self) -> None:
        """Interrupt the running chunk, unless it is still being compiled."""
        self._shell.interrupt()

    def stop(self) -> bool:
        """Raise ThreadDeath in it, where that does no harm; says whether it was done."""
        return bool(self._shell.stop())


class LazyRepl:
    """Makes the interpreter once, when it is first needed or in advance."""

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._made: Optional[ScalaRepl] = None
        self._warming = False

    @property
    def made(self) -> Optional[ScalaRepl]:
        """The interpreter, if there is one already."""
        return self._made

    def get(self) -> ScalaRepl:
        """The interpreter. Raises NoScala."""
        with self._lock:
            session = self._session()
            if self._made is None:
                self._made = ScalaRepl(session)
            elif self._made.session is not session:  # a cell has put another in its place
                self._made.bind(session)
            return self._made

    def warm(self) -> None:
        """Make it on a thread of its own, for a session that will need it."""
        if not self._warming:
            self._warming = True
            threading.Thread(target=self._warm, name="sparkyard-scala", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.get()
        except Exception:  # noqa: BLE001  the first statement says it
            return
