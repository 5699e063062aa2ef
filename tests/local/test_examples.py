"""The numbered notebooks, cell by cell, through the real kernels against a running Sparkyard."""

import re
from pathlib import Path

import nbformat
import pytest

from support.hub_session import HubSession
from support.notebook import Notebook, Ran
from support.standalone import ROOT, Standalone, User

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))


def run_example(path: Path, stack: Standalone, user: User, home: Path) -> list[Ran]:
    """Run all cells of a notebook as one person; fails at the first cell that fails."""
    notebook = nbformat.read(path, as_version=4)
    with HubSession(stack.address, user.name, user.password) as session:
        session.start_server()  # a person's drivers run as the owner of their home, which the server makes
        token = session.token()
    environment = {
        "HOME": str(home),
        "SPARKYARD_GATEWAY_URL": stack.gateway,
        "SPARKYARD_PROFILE": "small",
        "JUPYTERHUB_API_TOKEN": token,
        "JUPYTERHUB_USER": user.name,
    }
    ran = []
    with Notebook(notebook.metadata.kernelspec.name, environment, home) as kernel:
        for number, cell in enumerate(it for it in notebook.cells if it.cell_type == "code"):
            ran.append(kernel.run(cell.source, seconds=300))
            assert ran[-1].ok, f"{path.name}, cell {number}: {ran[-1].reply}"
    return ran


def test_examples_are_numbered_and_hold_no_output() -> None:
    assert [path.name[:2] for path in EXAMPLES] == [f"{number:02d}" for number in range(1, len(EXAMPLES) + 1)]
    for path in EXAMPLES:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path.name} holds output: clear it before it is committed"


def test_01_flights(stack: Standalone, dana: User, tmp_path: Path) -> None:
    cells = run_example(ROOT / "examples" / "01-flights.ipynb", stack, dana, tmp_path)

    assert "336,776 flights, 16 airlines" in cells[0].text
    assert re.search(r"United Air Lines Inc\.\s*\|58665\s*\|12\.1\s*\|1\.2", cells[1].text)
    assert re.search(r"LGA\|\s+3\|\s+8\|\s+105\.7\|\s+229\|\s+1\|", cells[2].text)
    assert any("image/png" in data for data in cells[3].displays), "the plot of the driver"
    assert "DataFrame (10, 4)" in cells[6].text
    assert any("image/png" in data for data in cells[6].displays), "the plot of the notebook's own Python"


def test_02_machine_learning(stack: Standalone, ana: User, tmp_path: Path) -> None:
    cells = run_example(ROOT / "examples" / "02-machine-learning.ipynb", stack, ana, tmp_path)

    assert re.search(r"0\|\s+212\|", cells[0].text)
    held_out = re.search(r"held out: (\d+) of (\d+) right, area under the curve (0\.\d+)", cells[2].text)
    assert held_out
    assert int(held_out[1]) / int(held_out[2]) > 0.9
    assert float(held_out[3]) > 0.97
    assert any("image/png" in data for data in cells[3].displays)


def test_03_two_profiles_with_different_libraries(stack: Standalone, dana: User, tmp_path: Path) -> None:
    cells = run_example(ROOT / "examples" / "03-two-profiles.ipynb", stack, dana, tmp_path)

    assert re.search(r"driver:\s+2\.3\.\d+\npandas inside a task:\s+2\.3\.", cells[0].text)
    assert "31 Jan" in cells[1].text
    assert re.search(r"driver:\s+2\.1\.\d+\npandas inside a task:\s+2\.1\.", cells[3].text)
    assert "Invalid frequency: ME" in cells[4].text
    assert "31 Jan" in cells[4].text


def test_04_scala(stack: Standalone, ana: User, tmp_path: Path) -> None:
    cells = run_example(ROOT / "examples" / "04-scala.ipynb", stack, ana, tmp_path)

    assert "336,776 flights, 8,255 of them cancelled" in cells[1].text
    assert re.search(r"\|\s+LGA\| 104662\|\s+3\.0\|\s+7\|", cells[2].text)
    assert any("medium  221073   12.4" in data.get("text/plain", "") for data in cells[4].displays)
    assert any("HA  HNL  1301.0" in data.get("text/plain", "") for data in cells[5].displays)
    assert re.search(r"EWR\s+120835\s+2\.7\s+2", cells[7].text)
