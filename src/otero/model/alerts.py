"""Alerts as rules hand them on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from otero.model.labels import encode_labels

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = (1 << 64) - 1

ALERT_NAME = "alertname"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Two alerts with the same labels are the same alert at different times.

    labels        sorted by name, no empty values, `alertname` among them where it came from a rule.
    annotations   sorted by name.
    starts_ms     when it began to fire.
    ends_ms       when it ended or will have ended unless it is said again.
    updated_ms    when it was said last.
    timeout       whether `ends_ms` was not said by the sender but is the resolve timeout.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts_ms: int = 0
    ends_ms: int = 0
    generator_url: str = ""
    updated_ms: int = 0
    timeout: bool = False

    @property
    def name(self) -> str:
        return self.labels.get(ALERT_NAME, "")

    @property
    def fingerprint(self) -> int:
        """Identity of the label set, as `fingerprint`."""
        return fingerprint(self.labels)

    def resolved_at(self, now_ms: int) -> bool:
        """Whether it has ended at that time."""
        return self.ends_ms != 0 and self.ends_ms <= now_ms


def fingerprint(labels: Mapping[str, str]) -> int:
    """The 64-bit FNV-1a hash by which Prometheus and Alertmanager name label sets (shown as 16 hexadecimal digits):
    over name, FF, value, FF of each label by ascending name (prometheus/common, model.LabelSet.Fingerprint)."""
    return _fnv1a(encode_labels(labels))


@lru_cache(maxsize=1 << 14)
def _fnv1a(data: bytes) -> int:
    """Of alerts that are said again and again; the loop costs more than all else that is done with most of them."""
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value
