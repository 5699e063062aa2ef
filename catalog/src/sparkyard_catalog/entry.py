"""The base of every model in the catalog: closed to unknown keys, frozen, and documented by its fields' docstrings."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

SLUG = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"


class Entry(BaseModel):
    """A mapping in the catalog file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class Named(Entry):
    """An entry that its place in the file names: its key is its name."""

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """The key that the entry stands under in the file."""
        return self._name

    def named(self, name: str) -> None:
        """Called once, by the catalog that the entry is part of."""
        self._name = name


class OneValueOr(Entry):
    """A default and a cap that may also be written as one plain value; `one_value` describes that form to editors."""

    @classmethod
    def one_value(cls) -> dict[str, Any]:
        """The JSON Schema of the short form."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _from_one_value(cls, value: object) -> object:
        return {"default": value, "max": value} if isinstance(value, int | str | float) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Offer editors both forms."""
        full = handler.resolve_ref_schema(handler(core))
        description = full.pop("description", "")
        return {"description": description, "anyOf": [cls.one_value(), full]}


def _slug(text: str) -> str:
    if not re.fullmatch(SLUG, text):
        raise ValueError(f"'{text}' can't be a name: use lower-case letters, digits, '-' and '.', at most 63, "
                         "beginning and ending with a letter or digit")  # fmt: skip
    return text


Slug = Annotated[str, AfterValidator(_slug)]
Title = Annotated[str, Field(min_length=1, max_length=80)]
Group = Annotated[str, Field(min_length=1, max_length=255)]


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Plain = Annotated[str, BeforeValidator(_plain), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""The value of a Spark setting: text, which YAML may write as a number or a boolean."""
