"""The gateway's own pages for browsers: HTML with places to fill in, and the files they load.

The pages stand on the hub's own host, so that a script in one could act as whoever looks. So: no script and no style
but these files, no text of a user's ever read as markup (the scripts write text nodes, and the browser is told
to refuse anything else), and what is filled in here is escaped.
"""

import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).parent
_PLACE = re.compile(r"\{\{(\w+)\}\}")

TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES: Final = {each.name: each.read_bytes() for each in sorted(_FOLDER.iterdir()) if each.suffix in TYPES}
VERSION: Final = hashlib.sha256(b"".join(FILES.values())).hexdigest()[:12]

POLICY: Final = "; ".join(  # noqa: FLY002 - one directive a line
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        # The browser refuses to read any text as markup or script, whatever a script of ours does by mistake.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}


def page(name: str, **texts: str) -> str:
    """A page with its places filled in, each text escaped."""
    return _filled(_text("head.html") + _text(f"{name}.html") + _text("foot.html"), texts)


def alone(name: str, **texts: str) -> str:
    """The same for a page that is whole by itself: for nobody who is known."""
    return _filled(_text(f"{name}.html"), texts)


def _filled(text: str, texts: Mapping[str, str]) -> str:
    known = {**texts, "version": VERSION}

    def fill(place: re.Match[str]) -> str:
        return html.escape(known[place[1]], quote=True)

    return _PLACE.sub(fill, text)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
