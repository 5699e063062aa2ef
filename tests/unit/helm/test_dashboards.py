"""The dashboards show metrics that the gateway has, by labels that they have."""

import json
import re

from support import chart

GUIDE = (chart.ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(sparkyard_gateway_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def expressions() -> list[str]:
    found = [
        target["expr"]
        for path in (chart.CHART / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]
    assert len(found) > 20
    return found


def test_every_metric_is_the_gateways() -> None:
    kinds = {name: kind for name, kind, _ in ROW.findall(GUIDE)}
    known = OF_THE_PROCESS | {f"{name}_bucket" if kind == "histogram" else name for name, kind in kinds.items()}
    for expression in expressions():
        for name in re.findall(r"\b(sparkyard_\w+|process_\w+)", expression):
            assert name in known, expression


def test_every_label_is_the_metrics() -> None:
    labels = {name: set(re.findall(r"`(\w+)`", words)) for name, _, words in ROW.findall(GUIDE)}
    for expression in expressions():
        grouped = re.search(r"by \(([^)]*)\)", expression)
        (name, *_) = [*re.findall(r"sparkyard_gateway_\w+", expression), ""]
        if grouped and name:
            wanted = set(grouped[1].replace(" ", "").split(",")) - {"le"}
            assert wanted <= labels[name.removesuffix("_bucket")], expression


def test_panels_do_not_lie_on_each_other() -> None:
    for path in (chart.CHART / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len(places) == len({panel["id"] for panel in panels}) == len(panels)
