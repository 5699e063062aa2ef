"""Where a pod may run: the words of Kubernetes for choosing among nodes, checked as Kubernetes would check them.

A wrong label or toleration is otherwise found only when a person's server can't be started.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sparkyard_catalog.entry import Entry

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_DNS}(\.{_DNS})*"
_KEY = rf"({_SUBDOMAIN}/)?{_NAME}"
_ARCHITECTURE = "kubernetes.io/arch"


def _label_key(text: str) -> str:
    if len(text) > 317 or not re.fullmatch(_KEY, text):
        raise ValueError(f"'{text[:80]}' is not the key of a label; write it as Kubernetes does, such as "
                         "node.kubernetes.io/instance-type or pool")  # fmt: skip
    return text


def _label_value(value: str) -> str:
    if value and not re.fullmatch(_NAME, value):
        raise ValueError(f"'{value[:80]}' is not the value of a label; use letters, digits, '-', '_' and '.', "
                         "at most 63, beginning and ending with a letter or digit")  # fmt: skip
    return value


def _object_name(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(_SUBDOMAIN, text):
        raise ValueError(f"'{text[:80]}' can't be the name of something in Kubernetes; use lower-case letters, digits, "
                         "'-' and '.'")  # fmt: skip
    return text


def _dns_label(text: str) -> str:
    if not re.fullmatch(_DNS, text):
        raise ValueError(f"'{text[:80]}' can't be a name here; use lower-case letters, digits and '-', at most 63, "
                         "beginning and ending with a letter or digit")  # fmt: skip
    return text


LabelKey = Annotated[str, AfterValidator(_label_key), WithJsonSchema({"type": "string", "pattern": rf"^{_KEY}$"})]
LabelValue = Annotated[
    str, AfterValidator(_label_value), WithJsonSchema({"type": "string", "pattern": rf"^({_NAME})?$"})
]
ObjectName = Annotated[
    str, AfterValidator(_object_name), WithJsonSchema({"type": "string", "pattern": rf"^{_SUBDOMAIN}$"})
]
DnsLabel = Annotated[str, AfterValidator(_dns_label), WithJsonSchema({"type": "string", "pattern": rf"^{_DNS}$"})]


class Toleration(Entry):
    """A taint of nodes that the pod may be placed in spite of."""

    key: LabelKey | None = None
    """The taint's key; absent, with operator Exists, any taint is tolerated."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the taint must have the value, or only be there."""
    value: LabelValue | None = None
    """The taint's value, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; absent, every effect is tolerated."""
    seconds: int | None = Field(default=None, ge=0, strict=True)
    """How long the pod stays on a node that gets the taint, with effect NoExecute; absent, for ever."""

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise PydanticCustomError("toleration", "operator Exists takes no value; remove it", {"at": "value"})
        if self.operator == "Equal" and self.key is None:
            raise PydanticCustomError("toleration", "operator Equal needs a key; add the taint's, or say Exists")
        if self.seconds is not None and self.effect != "NoExecute":
            raise PydanticCustomError("toleration", "seconds count with effect: NoExecute alone", {"at": "seconds"})
        return self

    @property
    def as_kubernetes(self) -> dict[str, Any]:
        """The same in Kubernetes' words."""
        words = {
            "key": self.key,
            "operator": self.operator,
            "value": self.value,
            "effect": self.effect,
            "tolerationSeconds": self.seconds,
        }
        return {word: value for word, value in words.items() if value is not None}


class Placement(Entry):
    """Which nodes a pod may run on."""

    architecture: Literal["amd64", "arm64"] | None = None
    """The processors of the nodes; the images must have been built for them."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that a node may have."""
    priority_class: ObjectName | None = None
    """The PriorityClass of the cluster that the pod has."""

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        if self.architecture is not None and _ARCHITECTURE in self.node_selector:
            raise PydanticCustomError(
                "placement", "{key} is what architecture says; remove one of the two",
                {"key": _ARCHITECTURE, "at": "node_selector"},
            )  # fmt: skip
        return self

    @property
    def nodes(self) -> dict[str, str]:
        """The labels that a node must have, its architecture among them."""
        architecture = {_ARCHITECTURE: self.architecture} if self.architecture else {}
        return self.node_selector | architecture
