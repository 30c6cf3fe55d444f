"""The `otlp:` section of prometheus.yml: how metrics that arrive by OTLP become series."""

import msgspec

from otero.errors import BadField
from otero.wire.otlp_names import Naming, Strategy
from otero.wire.otlp_series import SeriesRules


class OtlpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As Prometheus has it, with its checks."""

    promote_all_resource_attributes: bool = False
    promote_resource_attributes: tuple[str, ...] = ()
    ignore_resource_attributes: tuple[str, ...] = ()
    translation_strategy: Strategy = "UnderscoreEscapingWithSuffixes"
    keep_identifying_resource_attributes: bool = False
    convert_histograms_to_nhcb: bool = False
    promote_scope_metadata: bool = False
    label_name_underscore_sanitization: bool = True
    label_name_preserve_multiple_underscores: bool = True

    def __post_init__(self) -> None:
        promoted, ignored = "promote_resource_attributes", "ignore_resource_attributes"
        if self.promote_all_resource_attributes:
            if self.promote_resource_attributes:
                raise BadField(
                    f"'promote_all_resource_attributes' and '{promoted}' cannot be configured simultaneously",
                    promoted,
                )
            self._check_attributes(ignored, "ignored")
        elif self.ignore_resource_attributes:
            raise BadField(
                f"'{ignored}' cannot be configured unless 'promote_all_resource_attributes' is true", ignored
            )
        else:
            self._check_attributes(promoted, "promoted")

    def _check_attributes(self, field: str, word: str) -> None:
        names = [name.strip() for name in getattr(self, field)]
        faults = [f"empty {word} OTel resource attribute"] if "" in names else []
        repeated = sorted({name for name in names if name and names.count(name) > 1})
        faults += [f'duplicated {word} OTel resource attribute "{name}"' for name in repeated]
        if faults:
            raise BadField(f"invalid '{field}': {'; '.join(faults)}", field)
        msgspec.structs.force_setattr(self, field, tuple(names))

    def rules(self) -> SeriesRules:
        """What this says of labels."""
        return SeriesRules(
            Naming(
                self.translation_strategy,
                self.label_name_underscore_sanitization,
                self.label_name_preserve_multiple_underscores,
            ),
            frozenset(self.promote_resource_attributes),
            self.promote_all_resource_attributes,
            frozenset(self.ignore_resource_attributes),
            self.keep_identifying_resource_attributes,
            self.promote_scope_metadata,
        )
