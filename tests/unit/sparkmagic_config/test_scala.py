"""Scala that lends and borrows: what the kernel sends to the session."""

import json
import re

import pytest

from sparkyard_sparkmagic import scala
from sparkyard_sparkmagic.errors import MagicError


def test_a_frame_passes_between_the_languages_as_a_view() -> None:
    assert scala.lend("df") == 'df.toDF().createOrReplaceTempView("_sparkyard_df")'
    assert scala.lent("df") == 'spark.table("_sparkyard_df")'
    assert scala.lend_from_python("df") == 'df.createOrReplaceTempView("_sparkyard_df")'
    assert scala.borrow("df") == 'val df = spark.table("_sparkyard_df")'


@pytest.mark.parametrize("name", ['x"); System.exit(1); ("', "a b", "", "1x"])
def test_only_a_name_is_a_name(name: str) -> None:
    for make in (scala.lend, scala.lent, scala.lend_from_python, scala.borrow):
        with pytest.raises(MagicError):
            make(name)


@pytest.mark.parametrize("value", ["", 'he said "hi"', "$x \\ \n\t\0", "é😀", "x" * 25_000])
def test_a_text_is_a_literal_of_scala(value: str) -> None:
    code = scala.text("t", value)
    assert code.isascii()
    literals = re.fullmatch(r"val t = Seq\((.*)\)\.mkString\(\"\"\)", code)
    assert literals is not None
    assert "".join(json.loads(f"[{literals[1]}]")) == value
