"""Images: what notebook servers and Spark run in, and what stands for that on a machine without containers."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry, Named, Title
from sparkyard_catalog.places import PathText
from sparkyard_catalog.references import ImageReference


def _version(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004  Pydantic collects this one
            f'{value} is a number in YAML, in which 3.10 is 3.1; put it in quotes: "{value}"'
        )
    return value


Version = Annotated[str, BeforeValidator(_version), Field(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")]


class Local(Entry):
    """What stands for an image on one machine, where nothing runs in containers.

    {venv} is the virtual environment that Sparkyard runs in, {pyspark} the folder of its pyspark package; a relative
    path starts at the catalog's folder.
    """

    python: PathText
    """The Python interpreter."""
    spark_home: PathText | None = None
    """The folder of Spark; where absent, the interpreter's own pyspark package serves."""


class Image(Named):
    """A container image that profiles may name."""

    kind: Literal["notebook", "spark", "init"]
    """What runs in it: the notebook server, Spark's driver and executors, or steps before a notebook server starts."""
    ref: ImageReference
    """The image as a container runtime pulls it: registry/path:tag, best with @sha256:digest."""
    title: Title | None = None
    """What people read when they choose; the name where absent."""
    spark: Version | None = None
    """The version of Spark inside, such as "3.5"; required for kind spark, and for no other."""
    local: Local | None = None
    """What stands for the image on one machine."""

    @model_validator(mode="after")
    def _spark_where_spark_is(self) -> Self:
        if self.kind == "spark" and self.spark is None:
            raise PydanticCustomError("image", 'an image of kind spark says its version; add spark: "3.5"')
        if self.kind != "spark" and self.spark is not None:
            what = "a notebook image" if self.kind == "notebook" else "an image for steps"
            raise PydanticCustomError("image", "{what} has no Spark; remove this key", {"what": what, "at": "spark"})
        return self
