"""Livy's undocumented routes for its Java and Scala client: refused, with a word about what to use instead.

Their bodies are Java objects in Kryo's serialisation, read inside the driver with the class path of whoever sent them,
and files that pass through the server. Neither fits drivers in users' images, nor a catalog that says which files a
session may have. An unknown session is 404 here too, and one's own 400: never a 5xx, which clients would repeat.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from sparkyard_gateway.errors import NotOffered
from sparkyard_gateway.routes.dependencies import OwnedSession

router = APIRouter(tags=["not offered"])

_JOBS = (
    "This gateway runs no serialised jobs of Livy's Java and Scala client. Send the code itself: "
    "POST /sessions/{id}/statements; or run a whole program as a batch: POST /batches."
)
_FILES = (
    "This gateway takes no files into a running session. Name them in jars, pyFiles, files or archives when you create "
    "it, as far as its profile allows their address; or fetch them from code."
)
_FILE_ROUTES = ("upload-jar", "upload-pyfile", "upload-file", "add-jar", "add-pyfile", "add-file")
_REFUSED: dict[str, Any] = {"status_code": 400, "responses": {400: {"description": "Always."}}}
_JOB_ROUTES = ("submit-job", "run-job")


async def no_jobs(session: OwnedSession) -> None:
    """Refused: Livy's serialised jobs. Statements and batches do this here."""
    del session
    raise NotOffered(_JOBS)


async def no_job(session: OwnedSession, job: Annotated[str, Path(description="Whichever: there is none.")]) -> None:
    """Refused: a serialised job of Livy's."""
    del session, job
    raise NotOffered(_JOBS)


async def no_files(session: OwnedSession) -> None:
    """Refused: files for a running session. They are named when it is created."""
    del session
    raise NotOffered(_FILES)


for _name in _JOB_ROUTES:
    router.add_api_route(f"/sessions/{{session}}/{_name}", no_jobs, methods=["POST"], **_REFUSED)
router.add_api_route("/sessions/{session}/jobs/{job}", no_job, methods=["GET"], **_REFUSED)
router.add_api_route("/sessions/{session}/jobs/{job}/cancel", no_job, methods=["POST"], **_REFUSED)
for _name in _FILE_ROUTES:
    router.add_api_route(f"/sessions/{{session}}/{_name}", no_files, methods=["POST"], **_REFUSED)
