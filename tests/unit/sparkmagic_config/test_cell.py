"""What a cell is, and what IPython is given to run."""

import pytest

from sparkyard_sparkmagic.cell import CellReader


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        ("1+1", "%%spark\n1+1"),
        ("", ""),
        ("  \n", ""),
        ("%%local\nx = 1", "# %%local\nx = 1"),
        ("%local\nx = 1", "# %local\nx = 1"),
        ("# a comment\n\n%%local\nx = 1", "# # a comment\n# \n# %%local\nx = 1"),
        ("# a comment\nx = 1", "%%spark\n# a comment\nx = 1"),
        ("\n# why\n%%sql -o df\nSELECT 1", "%%sql -o df\nSELECT 1"),
        ("%%info", "%%info \n "),
        ("%info", "%%info \n "),
        ("%%cleanup -f", "%%cleanup -f\n "),
        ("%%configure -f\n{}", "%%configure -f\n{}"),
        ("%%localx\ny", "%%localx \ny"),
        ("%matplot plt", "%%spark\n%matplot plt"),
        ("%json x", "%%spark\n%json x"),
        ("x\n%json x", "%%spark\nx\n%json x"),
        ("%timeit 1", "%timeit 1"),
        ("a %b", "%%spark\na %b"),
    ],
)
def test_pyspark(cell: str, runs: str) -> None:
    assert CellReader().get_code_to_run(cell) == runs


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        ("SELECT 1", "%%sql\nSELECT 1"),
        ("-- why\nSELECT 1", "%%sql\n-- why\nSELECT 1"),
        ("-- why\n%%local\nx", "# -- why\n# %%local\nx"),
        ("%%spark\n1", "%%spark \n1"),
    ],
)
def test_sql(cell: str, runs: str) -> None:
    assert CellReader("sql", "--").get_code_to_run(cell) == runs
