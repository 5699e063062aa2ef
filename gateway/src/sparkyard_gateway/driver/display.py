"""Rich output: the pictures and tables of a cell beside its text.

Livy's `output` has one value for each MIME type. One rich thing is sent under its own type; several (two plots, a table
and a plot) become one text/html that shows them in order, so that any Livy client can show them all.
"""

from __future__ import annotations

import base64
import html
import io
import json
import sys
from typing import Any, Callable, Dict, List

_PNG, _HTML, _JSON, _TEXT = "image/png", "text/html", "application/json", "text/plain"
_METHODS = (("_repr_html_", _HTML), ("_repr_png_", _PNG), ("_repr_svg_", "image/svg+xml"), ("_repr_json_", _JSON))


# Their HTML links to a Spark UI by an address that no browser can reach.
_LINKING = ("pyspark.sql.session", "pyspark.context", "pyspark.core.context")


def rich_forms(value: Any) -> Dict[str, Any]:
    """The rich forms of a value by MIME type; empty for plain things and for classes."""
    if value is None or isinstance(value, (type, str, int, float, bool, list, dict, tuple)):
        return {}
    if type(value).__module__ in _LINKING and type(value).__name__ in ("SparkSession", "SparkContext"):
        return {}
    forms: Dict[str, Any] = {}
    bundle = getattr(value, "_repr_mimebundle_", None)
    if callable(bundle):
        made = bundle(include=None, exclude=None)
        made = made[0] if isinstance(made, tuple) else made
        forms.update({key: _as_json(key, item) for key, item in (made or {}).items() if key != _TEXT})
    for method, mime in _METHODS:
        maker = getattr(value, method, None)
        if mime not in forms and callable(maker):
            made = maker()
            if isinstance(made, tuple):
                made = made[0]  # with metadata, as IPython allows
            if made is not None:
                forms[mime] = _as_json(mime, made)
    return forms


def _as_json(mime: str, value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return value if mime == _JSON or isinstance(value, (dict, list)) else str(value)


class Gallery:
    """The rich things of the running cell, in the order they appeared."""

    def __init__(self) -> None:
        self._items: List[Dict[str, Any]] = []
        self._last_figure: Any = None

    def clear(self) -> None:
        """Begin a cell with nothing."""
        self._items = []

    def add(self, forms: Dict[str, Any]) -> None:
        """Take one thing in."""
        self._items.append(forms)

    def collect(self) -> Dict[str, Any]:
        """All things as one `data`."""
        if len(self._items) <= 1:
            return dict(self._items[0]) if self._items else {}
        return {_HTML: "\n".join(f"<div>{_as_html(item)}</div>" for item in self._items)}

    def add_open_figures(self) -> None:
        """Show and close what the cell left open in matplotlib, if the user imported that at all."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            self._last_figure = figure
            if figure.get_axes() or figure.texts or figure.images:
                self.add({_PNG: _png(figure)})
            pyplot.close(figure)

    def take_current_figure(self, plotter: Any) -> Dict[str, Any]:
        """For %matplot: the current figure, or the last one shown, as cells plot in one and show in the next."""
        open_figures = getattr(plotter, "get_fignums", None)
        if self._last_figure is not None and callable(open_figures) and not open_figures():
            return {_PNG: _png(self._last_figure)}
        figure = plotter.gcf()
        forms = {_PNG: _png(figure)}
        self._last_figure = figure
        if callable(getattr(plotter, "close", None)):
            plotter.close(figure)
        return forms

    def displayer(self) -> Callable[..., None]:
        """The `display` of cells: shows its arguments, rich or not, in the order of the calls."""

        def display(*values: Any) -> None:
            """Show values in the cell's output, as their HTML, picture or text."""
            for value in values:
                forms = {_PNG: _png(value)} if _is_figure(value) else rich_forms(value)
                if forms:
                    self.add(forms)
                else:
                    print(value if isinstance(value, str) else repr(value))  # noqa: T201  to the cell

        return display


def _is_figure(value: Any) -> bool:
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches=None)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _as_html(forms: Dict[str, Any]) -> str:
    if _HTML in forms:
        return str(forms[_HTML])
    if _PNG in forms:
        return f'<img alt="output of the cell" src="data:image/png;base64,{forms[_PNG]}">'
    if "image/svg+xml" in forms:
        return str(forms["image/svg+xml"])
    return f"<pre>{html.escape(json.dumps(forms, indent=1, default=str))}</pre>"
