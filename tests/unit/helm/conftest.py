"""Fixtures of the chart's tests that need no `helm`: those that do are in tests/cluster/test_chart.py.

values      the chart's default values
templates   the text of each template by its name
"""

from typing import Any

import pytest

from support import chart


@pytest.fixture(scope="session")
def values() -> Any:
    return chart.values()


@pytest.fixture(scope="session")
def templates() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (chart.CHART / "templates").iterdir()}
