"""Relabelling rules as data, validated as Prometheus does. The code that applies them is `ingest/relabel.py`."""

from typing import Literal

import msgspec

from otero.errors import BadField, BadInput
from otero.fields import valid_label_name
from otero.model.matchers import compile_anchored

Action = Literal[
    "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep",
    "lowercase", "uppercase",
]  # fmt: skip

DEFAULT_REGEX = "(.*)"
DEFAULT_SEPARATOR = ";"
DEFAULT_REPLACEMENT = "$1"

_NEEDS_TARGET = ("replace", "keepequal", "dropequal", "hashmod", "lowercase", "uppercase")


class RelabelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. `regex` is anchored at both ends (`otero.model.matchers.compile_anchored`); `modulus` 0 means unset."""

    source_labels: tuple[str, ...] = ()
    separator: str = DEFAULT_SEPARATOR
    regex: str = DEFAULT_REGEX
    modulus: int = 0
    target_label: str = ""
    replacement: str = DEFAULT_REPLACEMENT
    action: Action = "replace"

    def __post_init__(self) -> None:
        try:
            compile_anchored(self.regex)
        except BadInput as error:
            raise BadField(str(error), "regex") from None
        self._check_action()

    def _check_action(self) -> None:
        action = self.action
        if self.modulus < 0:
            raise BadField("modulus must not be negative", "modulus")
        if action == "hashmod" and self.modulus == 0:
            raise BadField("relabel configuration for hashmod requires non-zero modulus", "modulus")
        if action in _NEEDS_TARGET and not self.target_label:
            raise BadField(
                f"relabel configuration for {action} action requires 'target_label' value", "target_label"
            )
        if action == "replace":
            if "$" not in self.target_label and not valid_label_name(self.target_label):
                raise self._bad_target()
        elif action in _NEEDS_TARGET and not valid_label_name(self.target_label):
            raise self._bad_target()
        if action in ("lowercase", "uppercase") and self.replacement != DEFAULT_REPLACEMENT:
            raise BadField(f"'replacement' can not be set for {action} action", "replacement")
        if action == "labelmap" and not valid_label_name(self.replacement):
            raise BadField(
                f"\"{self.replacement}\" is invalid 'replacement' for {action} action", "replacement"
            )
        if action in ("dropequal", "keepequal") and self._sets(
            "regex", "separator", "replacement", "modulus"
        ):
            raise BadField(
                f"{action} action requires only 'source_labels' and 'target_label', and no other fields",
                "action",
            )
        if action in ("labeldrop", "labelkeep") and self._sets(
            "source_labels", "target_label", "separator", "replacement", "modulus"
        ):
            raise BadField(f"{action} action requires only 'regex', and no other fields", "action")

    def _sets(self, *names: str) -> bool:
        defaults = dict(zip(self.__struct_fields__, self.__struct_defaults__, strict=True))
        return any(getattr(self, name) != defaults[name] for name in names)

    def _bad_target(self) -> BadField:
        return BadField(
            f"\"{self.target_label}\" is invalid 'target_label' for {self.action} action", "target_label"
        )
