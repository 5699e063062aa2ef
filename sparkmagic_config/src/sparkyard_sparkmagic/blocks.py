"""The small HTML blocks: waiting for Spark, the session's status, a running statement's stages, the list of sessions.

Every value that comes from outside is escaped here, and links are only ever paths on our own site.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from sparkyard_sparkmagic.gateway import SessionView

_BOX = "border-left:3px solid #e25a1c;padding:2px 10px;margin:2px 0;font-size:90%"
_STATES = {
    "starting": "starting Spark",
    "not_started": "waiting to be started",
    "recovering": "finding Spark again",
    "idle": "ready",
    "busy": "running",
}


def waiting(view: SessionView | None, seconds: float) -> dict[str, str]:
    """While a cell waits for its session: what for, and for how long already."""
    if view is None:
        what = "Asking the gateway for a Spark session"
    else:
        what = f"Spark session {view.id}: {(view.reason or _STATES.get(view.state, view.state)).rstrip('.')}"
    after = f"{seconds:.0f} s"
    bar = '<progress aria-label="Waiting for Spark" style="width:8em;vertical-align:middle"></progress>'
    return {
        "text/plain": f"{what} ({after})",
        "text/html": f'<div style="{_BOX}">{bar} {escape(what)} <span style="opacity:.7">{after}</span></div>',
    }


def status(view: SessionView, profile_title: str | None) -> dict[str, str]:
    """A session that is ready: what it is and where to watch it."""
    facts = [
        ("Profile", profile_title or view.profile),
        ("Spark", view.spark_version),
        ("Driver image", view.driver_image),
        ("Executor image", view.executor_image),
        ("Note", view.notice),
    ]
    known = [(name, value) for name, value in facts if value]
    link = spark_ui_link(view)
    html = " &middot; ".join(
        [f"<b>Spark session {view.id}</b> is {escape(_STATES.get(view.state, view.state))}"]
        + [f"{name}: {escape(value)}" for name, value in known]
        + ([link] if link else [])
    )
    text = f"Spark session {view.id} is {_STATES.get(view.state, view.state)}"
    text += "".join(f"\n  {name}: {value}" for name, value in known)
    if link:
        text += f"\n  Spark UI: {view.spark_ui_path}"
    return {"text/plain": text, "text/html": f'<div style="{_BOX}">{html}</div>'}


def spark_ui_link(view: SessionView) -> str:
    """A link to the session's Spark UI, or nothing. Only a path on this site is ever linked."""
    path = view.spark_ui_path
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return ""
    return f'<a href="{escape(path)}" target="_blank" rel="noopener">Spark UI</a>'


def running(stages: Sequence[Mapping[str, Any]], fraction: float, seconds: float) -> dict[str, str]:
    """A statement under way: its stages, or just that it runs."""
    after = f"{seconds:.0f} s"
    rows = [_stage(stage) for stage in stages]
    text = [f"{label}: {done} of {tasks} tasks{note}" for label, done, tasks, note in rows]
    html = [
        "<tr>"
        f'<td style="text-align:left">{escape(label)}</td>'
        f'<td><progress aria-label="{escape(label)}" max="{max(tasks, 1)}" value="{done}" '
        'style="width:12em;vertical-align:middle"></progress></td>'
        f'<td style="text-align:left">{done} of {tasks} tasks{escape(note)}</td></tr>'
        for label, done, tasks, note in rows
    ]
    head = f"Running for {after}"
    if stages and 0 < fraction < 1:
        head += f", {fraction:.0%} of the tasks done"
    table = f'<table aria-label="Spark stages"><tbody>{"".join(html)}</tbody></table>' if html else ""
    return {
        "text/plain": "\n".join([head, *text]),
        "text/html": f'<div style="{_BOX}">{escape(head)}{table}</div>',
    }


def _stage(stage: Mapping[str, Any]) -> tuple[str, int, int, str]:
    def number(key: str) -> int:
        value = stage.get(key)
        return int(value) if isinstance(value, int | float) else 0

    notes = [f"{number(key)} {key}" for key in ("running", "failed") if number(key)]
    name = str(stage.get("name") or "").strip()
    label = f"Stage {stage.get('id')}" + (f": {name}" if name else "")
    return label, number("done"), number("tasks"), f" ({', '.join(notes)})" if notes else ""


def saying(sentence: str) -> dict[str, str]:
    """A plain sentence in the block."""
    return {"text/plain": sentence, "text/html": f'<div style="{_BOX}">{escape(sentence)}</div>'}


def sessions(views: Iterable[SessionView], current: int | None) -> dict[str, str]:
    """A person's own sessions, the notebook's marked."""
    ordered = sorted(views, key=lambda view: view.id)
    if not ordered:
        return {"text/plain": "You have no sessions.", "text/html": "<p>You have no sessions.</p>"}
    left = 'style="text-align:left"'
    names = ("Session", "State", "Kind", "Profile", "Application", "Spark UI")
    html = []
    text = []
    for view in ordered:
        mark = " (this notebook's)" if view.id == current else ""
        cells = [f"{view.id}{mark}", view.state, view.kind, view.profile or "", view.app_id or ""]
        html.append("".join(f"<td {left}>{escape(cell)}</td>" for cell in cells) + f"<td>{spark_ui_link(view)}</td>")
        text.append("  ".join(cell for cell in cells if cell))
    head = "".join(f'<th scope="col" {left}>{name}</th>' for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in html)
    table = f"<table>{_caption('Your Spark sessions')}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return {"text/plain": "\n".join(text), "text/html": table}


def settings(body: Mapping[str, Any]) -> dict[str, str]:
    """What a session is asked for, key by key."""
    flat = {key: value for key, value in body.items() if key not in ("conf", "kind")}
    flat.update(body.get("conf") or {})
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(key)}</th>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for key, value in flat.items()
    )
    return {
        "text/plain": "\n".join(f"{key} = {value}" for key, value in flat.items()) or "the profile's own settings",
        "text/html": f"<table>{_caption('Session settings')}<tbody>{rows}</tbody></table>",
    }


def _caption(text: str) -> str:
    return f'<caption style="caption-side:top;text-align:left;white-space:nowrap">{text}</caption>'
