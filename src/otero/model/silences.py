"""Silences: who asked for quiet, about what, and for how long."""

from dataclasses import dataclass
from enum import StrEnum

from otero.model.matchers import Matcher


class SilenceState(StrEnum):
    """Of a silence at one moment."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence. Times are milliseconds since the epoch; `id` is a UUID, "" before it has one.

    An alert is silenced from `starts_ms` until just before `ends_ms`, when all matchers match it.
    """

    matchers: tuple[Matcher, ...]
    starts_ms: int
    ends_ms: int
    created_by: str = ""
    comment: str = ""
    id: str = ""
    updated_ms: int = 0

    def state(self, now_ms: int) -> SilenceState:
        """Pending before it starts, expired after it ended."""
        if now_ms < self.starts_ms:
            return SilenceState.PENDING
        return SilenceState.EXPIRED if now_ms >= self.ends_ms else SilenceState.ACTIVE
