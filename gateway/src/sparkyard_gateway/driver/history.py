"""Show event logs: Spark's history server in a pod of its own, for one user, as long as somebody looks.

The gateway brings the logs, as the pod can reach nobody: whatever a log makes the history server do, it does it where
there is nothing but that user's logs. Two ports, and both know the gateway by its certificate alone: the history
server's own, and one where this program takes what is brought:

    PUT  /events/{application}/{file}    a file of a log
    POST /events/{application}           it is whole: show it
    POST /stay                           somebody looks

When nobody has looked for a while, or the history server ends, the pod does.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Optional, Tuple

from .jvm import JvmFailed, as_properties, describe_end, spark_home
from .notes import note

CLASS = "org.apache.spark.deploy.history.HistoryServer"
EXIT_FAILED = 70
_PIECE = 256 * 1024
_SOCKET_SECONDS = 60.0
_APPLICATION = r"(?P<application>[A-Za-z0-9][\w.-]{0,127})"
_FILE = re.compile(rf"/events/{_APPLICATION}/(?P<file>[A-Za-z0-9][\w.-]{{0,199}})", re.ASCII)
_WHOLE = re.compile(rf"/events/{_APPLICATION}", re.ASCII)


class Shelf:
    """The logs that were brought. One that is not whole yet stands where the history server does not look."""

    def __init__(self, folder: str, limit: int) -> None:
        self.shown = os.path.join(folder, "shown")
        self._brought = os.path.join(folder, "brought")
        self._limit = limit
        self._lock = threading.Lock()
        for each in (self.shown, self._brought):
            os.makedirs(each, exist_ok=True)

    def put(self, application: str, file: str, stream: Any, size: int) -> bool:
        """Take a file; False where there is no room for it."""
        folder = os.path.join(self._brought, application)
        os.makedirs(folder, exist_ok=True)
        with self._lock:
            if not self._make_room(application, size):
                return False
        with open(os.path.join(folder, file), "wb") as target:
            while size > 0:
                piece = stream.read(min(size, _PIECE))
                if not piece:
                    raise ConnectionError("the gateway broke off")
                target.write(piece)
                size -= len(piece)
        return True

    def show(self, application: str) -> bool:
        """All of it is there; False where nothing is."""
        brought, shown = os.path.join(self._brought, application), self._place(application)
        with self._lock:
            if not os.path.isdir(brought):
                return False
            shutil.rmtree(shown, ignore_errors=True)
            os.rename(brought, shown)
        return True

    def _make_room(self, application: str, size: int) -> bool:
        """The logs that were brought first give way, and last of all what is shown of this one itself."""
        own = os.path.basename(self._place(application))
        shown = [
            (name == own, os.stat(os.path.join(self.shown, name)).st_mtime, name) for name in os.listdir(self.shown)
        ]
        for _, _, name in sorted(shown):
            if self._used() + size <= self._limit:
                break
            shutil.rmtree(os.path.join(self.shown, name), ignore_errors=True)
        return self._used() + size <= self._limit

    def _place(self, application: str) -> str:
        return os.path.join(self.shown, f"eventlog_v2_{application}")

    def _used(self) -> int:
        folders = (self.shown, self._brought)
        return sum(
            os.path.getsize(os.path.join(folder, name))
            for top in folders
            for folder, _, names in os.walk(top)
            for name in names
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_SECONDS
    shelf: Shelf
    stay: Any

    def do_PUT(self) -> None:
        """A file."""
        found, length = _FILE.fullmatch(self.path), self.headers.get("Content-Length", "")
        if found is None or not length.isdigit():
            self._answer(404)
            return
        self.stay()
        taken = self.shelf.put(found["application"], found["file"], self.rfile, int(length))
        self._answer(204 if taken else 507)

    def do_POST(self) -> None:
        """A word."""
        found = _WHOLE.fullmatch(self.path)
        if self.path != "/stay" and found is None:
            self._answer(404)
            return
        self.stay()
        self._answer(204 if found is None or self.shelf.show(found["application"]) else 404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status >= 300:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's word
        """The gateway's log tells who looked."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, context: ssl.SSLContext, handler: Any) -> None:
        super().__init__(("", port), handler)
        self._context = context

    def server_bind(self) -> None:
        """Without asking for its own name: there is nobody here who could answer that."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "history", int(self.server_address[1])

    def get_request(self) -> Tuple[Any, Any]:
        """The handshake comes with the first byte that is read: on the connection's own thread."""
        stream, address = super().get_request()
        stream.settimeout(_SOCKET_SECONDS)
        return self._context.wrap_socket(stream, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that is not the gateway's, or broke."""
        del request, client_address
        note(f"a connection was given up: {type(sys.exc_info()[1]).__name__}")


class History:
    """The history server, and who may bring it something."""

    def __init__(self, told: Dict[str, Any]) -> None:
        self._told = told
        self._seen = time.monotonic()
        self._ending = threading.Event()
        self._server: Optional[subprocess.Popen[bytes]] = None

    def run(self) -> int:
        """Until nobody looks any more, or the history server ends."""
        shelf = Shelf(self._told["folder"], int(self._told["limit"]))
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._ending.set())
        self._server = self._start(shelf.shown)
        handler = type("Handler", (_Handler,), {"shelf": shelf, "stay": self._stay})
        receiver = _Server(int(self._told["port"]), self._context(), handler)
        threading.Thread(target=receiver.serve_forever, name="receiver", daemon=True).start()
        while not self._ending.wait(1.0):
            code = self._server.poll()
            if code is not None:
                note(f"Spark's history server {describe_end(code)}")
                return EXIT_FAILED
            if time.monotonic() - self._seen > float(self._told["idle_seconds"]):
                note("nobody looks any more")
                break
        self._server.kill()
        return 0

    def _stay(self) -> None:
        self._seen = time.monotonic()

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._told["certificate"])
        context.load_verify_locations(self._told["clients"])
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _start(self, logs: str) -> "subprocess.Popen[bytes]":
        home, folder = spark_home(), self._told["folder"]
        conf = {**self._told["conf"], "spark.history.fs.logDirectory": f"file://{logs}"}
        properties = os.path.join(folder, "spark.properties")
        descriptor = os.open(properties, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(as_properties(conf))
        environment = dict(
            os.environ,
            SPARK_HOME=home,
            SPARK_DAEMON_MEMORY=f"{self._told['memory_mib']}m",
            SPARK_DAEMON_JAVA_OPTS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError",
        )
        words = [os.path.join(home, "bin", "spark-class"), CLASS, "--properties-file", properties]
        return subprocess.Popen(words, cwd=folder, env=environment)


def main(arguments: List[str]) -> int:
    """Show what is brought."""
    parser = argparse.ArgumentParser(prog="sparkyard-driver history", allow_abbrev=False)
    parser.add_argument("--bootstrap-file", required=True)
    with open(parser.parse_args(arguments).bootstrap_file, encoding="utf-8") as stream:
        told = json.load(stream)
    with contextlib.suppress(OSError):
        os.makedirs(told["folder"], exist_ok=True)
    try:
        return History(told).run()
    except (JvmFailed, OSError, ValueError, KeyError) as error:
        note(f"there is no history to show: {error}")
        return EXIT_FAILED
