"""Silences: made, changed, ended, and asked which of them apply to an alert.

Rules: Alertmanager's silence package. A change that would rewrite what was silent in the past ends the silence and makes
a new one; a silence is kept for 120 h after it ended.
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from otero.alerting.matchers import matches
from otero.clock import Clock
from otero.errors import BadInput, LimitExceeded, NotFound
from otero.model.matchers import MatchOp
from otero.model.silences import Silence, SilenceState
from otero.storage.silences import SilenceTable

RETENTION_MS = 120 * 3_600_000
MAX_SILENCES = 20_000
MAX_MATCHERS = 100


class Silences:
    """All silences. What `create` and `expire` have returned for is stored. Safe for many threads.

    `on_change` is told, on the thread that changed something.
    """

    def __init__(
        self,
        table: SilenceTable,
        clock: Clock,
        *,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._table = table
        self._clock = clock
        self._new_id = new_id
        self._on_change = on_change
        self._lock = threading.Lock()
        self._all = {silence.id: silence for silence in table.load()}
        self._index = _Index(self._all.values())

    def create(self, silence: Silence) -> str:
        """Make a silence, or with an id change one; the id under which it is from now on.

        A start in the past becomes now. Raises BadInput for a silence that makes no sense, NotFound for an id that is
        unknown, LimitExceeded, Unavailable.
        """
        with self._lock:
            now_ms = self._clock.now_ms()
            if not silence.starts_ms:
                silence = replace(silence, starts_ms=now_ms)
            _check(silence)
            before = self._all.get(silence.id)
            if silence.id and before is None:
                raise NotFound(f"silence {silence.id} not found")
            if before is not None and _may_change(before, silence, now_ms):
                changed = [replace(silence, updated_ms=now_ms)]
            else:
                if len(self._all) >= MAX_SILENCES:
                    raise LimitExceeded(
                        f"there are {len(self._all)} silences, which is the most that are kept"
                    )
                starts_ms = max(silence.starts_ms, now_ms)
                changed = [replace(silence, id=self._new_id(), starts_ms=starts_ms, updated_ms=now_ms)]
                if changed[0].ends_ms < starts_ms:
                    raise BadInput("invalid silence: it would end before now")
                if before is not None and before.state(now_ms) is not SilenceState.EXPIRED:
                    changed.append(_ended(before, now_ms))
            self._store(changed)
        self._on_change()
        return changed[0].id

    def expire(self, id_: str) -> None:
        """End a silence now; one that has ended stays as it is. Raises NotFound and Unavailable."""
        with self._lock:
            now_ms = self._clock.now_ms()
            silence = self._get(id_)
            if silence.state(now_ms) is SilenceState.EXPIRED:
                return
            self._store([_ended(silence, now_ms)])
        self._on_change()

    def get(self, id_: str) -> Silence:
        """Raises NotFound."""
        return self._get(id_)

    def list(self) -> "list[Silence]":
        """Every silence, ended ones that are still kept included."""
        return list(self._all.values())

    def silencing(self, labels: Mapping[str, str], now_ms: int) -> "list[Silence]":
        """The active silences that match an alert, by id."""
        return [
            silence
            for silence in self._index.matching(labels)
            if silence.state(now_ms) is SilenceState.ACTIVE
        ]

    def sweep(self) -> int:
        """Forget silences that ended longer than the retention ago; how many."""
        with self._lock:
            limit_ms = self._clock.now_ms() - RETENTION_MS
            gone = [id_ for id_, silence in self._all.items() if silence.ends_ms <= limit_ms]
            if gone:
                self._table.delete(gone)
                self._replace({id_: one for id_, one in self._all.items() if one.ends_ms > limit_ms})
            return len(gone)

    def _get(self, id_: str) -> Silence:
        silence = self._all.get(id_)
        if silence is None:
            raise NotFound(f"silence {id_} not found")
        return silence

    def _store(self, changed: "list[Silence]") -> None:
        self._table.write(changed)
        self._replace({**self._all, **{silence.id: silence for silence in changed}})

    def _replace(self, silences: dict[str, Silence]) -> None:
        # Whole new objects, so that readers on other threads need no lock.
        self._all = silences
        self._index = _Index(silences.values())


class _Index:
    """Silences by one label that they ask to have one value, so that an alert meets few that do not match it."""

    def __init__(self, silences: Iterable[Silence]) -> None:
        self._by_label: dict[tuple[str, str], list[Silence]] = defaultdict(list)
        self._others: list[Silence] = []
        for silence in silences:
            keys = [
                (matcher.name, matcher.value)
                for matcher in silence.matchers
                if matcher.op is MatchOp.EQUAL and matcher.value
            ]
            # The most telling one: hardly anybody silences two alerts of one name on one instance apart.
            (self._by_label[max(keys, key=lambda key: len(key[1]))] if keys else self._others).append(silence)

    def matching(self, labels: Mapping[str, str]) -> list[Silence]:
        by_label = self._by_label
        found = [
            silence
            for item in labels.items()
            if item in by_label
            for silence in by_label[item]
            if matches(silence.matchers, labels)
        ]
        found += [silence for silence in self._others if matches(silence.matchers, labels)]
        return sorted(found, key=lambda silence: silence.id)


def _check(silence: Silence) -> None:
    if not silence.matchers:
        raise BadInput("invalid silence: at least one matcher required")
    if len(silence.matchers) > MAX_MATCHERS:
        raise BadInput(f"invalid silence: more than {MAX_MATCHERS} matchers")
    # As in Alertmanager, a matcher that denies counts as one that does not match everything.
    if all(
        matcher.op in (MatchOp.EQUAL, MatchOp.REGEX) and matcher.matches("") for matcher in silence.matchers
    ):
        raise BadInput("invalid silence: at least one matcher must not match the empty string")
    if not silence.ends_ms:
        raise BadInput("invalid silence: invalid zero end timestamp")
    if silence.ends_ms < silence.starts_ms:
        raise BadInput("invalid silence: end time must not be before start time")


def _may_change(before: Silence, after: Silence, now_ms: int) -> bool:
    """Whether the change leaves what was silent until now as it was."""
    if before.matchers != after.matchers:
        return False
    match before.state(now_ms):
        case SilenceState.ACTIVE:
            return before.starts_ms // 1000 == after.starts_ms // 1000 and after.ends_ms >= now_ms
        case SilenceState.PENDING:
            return after.starts_ms >= now_ms
        case SilenceState.EXPIRED:
            return False


def _ended(silence: Silence, now_ms: int) -> Silence:
    return replace(silence, starts_ms=min(silence.starts_ms, now_ms), ends_ms=now_ms, updated_ms=now_ms)
