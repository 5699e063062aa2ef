"""The cell of %%configure."""

import pytest

from sparkyard_sparkmagic import configure
from sparkyard_sparkmagic.errors import ConfigurationError


def test_a_right_cell() -> None:
    assert configure.read('{"numExecutors": 3}') == {"numExecutors": 3}
    assert configure.read(" \n") == {}


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ('{"numExecutors": 3,}', "%%configure, line 2, column"),
        ('{\n "numExecutors": 3\n "x": 1}', "line 4"),
        ('{\n "numExecutors": 3,\n "driverMemry": "1g"}', "%%configure, line 4: driverMemry: is not known"),
        ('{"conf": {\n  "spark.x": {}}}', "line 3: conf.spark.x"),
        ('{"name": "a", "name": "b"}', "name is set twice"),
        ("[]", "takes a JSON object"),
        ("numExecutors = 3", "not JSON"),
    ],
)
def test_a_mistake_is_named_with_its_line_in_the_notebooks_cell(cell: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configure.read(cell)
    assert says in str(error.value)
