"""Server-sent events: what a browser's EventSource reads, and a script by lines.

Each event is one JSON document. `id` is where a reader goes on after a broken connection: browsers send it back as
Last-Event-ID by themselves.
"""

import json
from typing import Any

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Cache-Control": "no-store",
    # A proxy that gathers answers before it passes them on would hold this one for ever.
    "X-Accel-Buffering": "no",
}
SILENCE = ": nothing new\n\n"


def event(name: str, document: Any, identity: int | None = None) -> str:
    """One event."""
    # JSON has no bare line breaks, which would end the event.
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    mark = "" if identity is None else f"id: {identity}\n"
    return f"event: {name}\n{mark}data: {data}\n\n"
