"""Where batches in pods get their files from, and tell that they ran: a small HTTP server on this machine.

GET /jobs/NAME      a file
GET /say/WORD       told, and counted
GET /go/WORD        200 once the test says go, 404 before
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRELUDE = """\
import sys, time, urllib.error, urllib.request
def ask(path):
    with urllib.request.urlopen(sys.argv[1] + path, timeout=30) as answer:
        return answer.read()
def say(word):
    ask("/say/" + word)
def wait_for(word):
    while True:
        try:
            return ask("/go/" + word)
        except urllib.error.HTTPError:
            time.sleep(0.2)
"""
"""What a file may begin with that is called with this server's address."""


class JobServer:
    """The files, what was said, and what may go on."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.said: list[str] = []
        self.go: set[str] = set()
        self.url = ""

    def answer(self, path: str) -> bytes | None:
        """What a request gets."""
        _, kind, word = path.split("/", 2)
        if kind == "jobs" and word in self.files:
            return self.files[word].encode()
        if kind == "say":
            self.said.append(word)
            return b"heard"
        return b"go" if kind == "go" and word in self.go else None


@contextlib.contextmanager
def running(host: str, files: Mapping[str, str]) -> Iterator[JobServer]:
    """A server at an address that pods reach."""
    jobs = JobServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = jobs.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    jobs.url = f"http://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield jobs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
