"""Frames and texts between Scala and the notebook, in the Scala kernel.

Rows are fetched and sent by Python code on the same SparkSession, so a DataFrame passes between the two languages as
a temporary view of a name that nobody else uses.
"""

import json

from sparkyard_sparkmagic.query import identifier


def _view(name: str) -> str:
    return f"_sparkyard_{identifier(name)}"


def lend(name: str) -> str:
    """Scala that shows the Dataset `name` to Python."""
    return f'{identifier(name)}.toDF().createOrReplaceTempView("{_view(name)}")'


def lent(name: str) -> str:
    """What Python calls it."""
    return f'spark.table("{_view(name)}")'


def lend_from_python(name: str) -> str:
    """Python that shows the DataFrame `name` to Scala."""
    return f'{identifier(name)}.createOrReplaceTempView("{_view(name)}")'


def borrow(name: str) -> str:
    """Scala that gives it its name."""
    return f'val {identifier(name)} = spark.table("{_view(name)}")'


def text(name: str, value: str) -> str:
    """Scala that defines a text; JSON's escapes are Scala's too, and its parser knows no longer literal."""
    pieces = [value[at : at + _LONGEST] for at in range(0, len(value), _LONGEST)] or [""]
    parts = ", ".join(json.dumps(piece) for piece in pieces)
    return f'val {identifier(name)} = Seq({parts}).mkString("")'


_LONGEST = 10_000  # characters: a class file holds literals of 64 KiB, in which one may take six bytes
