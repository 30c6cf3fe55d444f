"""The journal of one signal's requests, and the memory of those that came within the last minutes.

REQUEST  16 bytes digest, u64 time in ms, u32 records, the payload
SEEN     digests with times: begins each segment, so that the digests of the last minutes outlive older segments
RANGE    u64 start, u64 end, u64 insert id     what the next insert takes; written before it
FLUSHED  u64 position, u64 insert id           what every insert up to here has stored
"""

import logging
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from otero.clock import Clock
from otero.errors import Unavailable
from otero.model.records import RecordBatch
from otero.storage.journal import Journal, Record

_log = logging.getLogger(__name__)

REMEMBER_MS = 300_000
"""How long a request is known again: clients retry for about this long."""
_MAX_REMEMBERED = 200_000
_REQUEST = struct.Struct("<16sQI")
_SEEN = struct.Struct("<16sQ")
_RANGE = struct.Struct("<QQQ")
_FLUSHED = struct.Struct("<QQ")


class Kind(IntEnum):
    REQUEST = 1
    SEEN = 2
    RANGE = 3
    FLUSHED = 4


@dataclass(frozen=True, slots=True)
class Range:
    """What one insert takes: the journal from `start` to `end`, stored under `insert_id`."""

    start: int
    end: int
    insert_id: int


@dataclass(frozen=True, slots=True)
class Stored:
    """One request of the journal."""

    payload: bytes
    records: int
    end: int


class RecentRequests:
    """Digests of the requests of the last minutes, oldest first, bounded. Not locked."""

    def __init__(self) -> None:
        self._times_ms: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times_ms)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._times_ms

    def add(self, digest: bytes, time_ms: int) -> None:
        self._times_ms[digest] = time_ms
        while len(self._times_ms) > _MAX_REMEMBERED:
            self._times_ms.popitem(last=False)

    def forget(self, now_ms: int) -> None:
        """Drop what is older than `REMEMBER_MS`, or of a future that a clock set back has left."""
        while self._times_ms:
            oldest_ms = next(iter(self._times_ms.values()))
            if now_ms - REMEMBER_MS <= oldest_ms <= now_ms + REMEMBER_MS:
                return
            self._times_ms.popitem(last=False)

    def packed(self) -> bytes:
        return b"".join(_SEEN.pack(digest, time_ms) for digest, time_ms in self._times_ms.items())

    def unpack(self, payload: bytes) -> None:
        for digest, time_ms in _SEEN.iter_unpack(payload[: len(payload) // _SEEN.size * _SEEN.size]):
            self.add(digest, time_ms)


class RequestJournal:
    """Requests in a journal, each once within `REMEMBER_MS`, also across a restart. Safe for many threads."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._recent = RecentRequests()
        self._segment = -1
        self.position = journal.first
        """Everything before it is stored elsewhere."""
        self.insert_id = 0
        """Of the last insert that was made, 0 when this journal knows of none."""
        self.planned: list[Range] = []
        self.waiting = 0
        """Records after `position`."""
        waiting: list[tuple[int, int]] = []
        for record in journal.read():
            match record.kind:
                case Kind.REQUEST:
                    digest, time_ms, records = _REQUEST.unpack_from(record.payload)
                    self._recent.add(digest, time_ms)
                    waiting.append((record.end, records))
                case Kind.SEEN:
                    self._recent.unpack(record.payload)
                case Kind.RANGE:
                    self.planned.append(Range(*_RANGE.unpack(record.payload)))
                case Kind.FLUSHED:
                    position, insert_id = _FLUSHED.unpack(record.payload)
                    self.position = max(self.position, position)
                    self.insert_id = max(self.insert_id, insert_id)
        self.planned = [planned for planned in self.planned if planned.start >= self.position]
        self.waiting = sum(records for end, records in waiting if end > self.position)

    @property
    def uuid(self) -> str:
        return self._journal.uuid

    @property
    def end(self) -> int:
        return self._journal.end

    @property
    def nbytes(self) -> int:
        return self._journal.nbytes

    def append(self, batch: RecordBatch) -> bool:
        """Write a request; False when it came already and is not written again. Raises Unavailable."""
        now_ms = self._clock.now_ms()
        with self._lock:
            self._recent.forget(now_ms)
            if batch.digest in self._recent:
                return False
            self._begin_segment()
            head = _REQUEST.pack(batch.digest, now_ms, batch.records)
            self._journal.append(Kind.REQUEST, head + batch.payload)
            self._recent.add(batch.digest, now_ms)
            self.waiting += batch.records
        return True

    def plan(self, planned: Range) -> None:
        """Say what the next insert takes, so that a replay cuts the same."""
        self._journal.append(
            Kind.RANGE, _RANGE.pack(planned.start, planned.end, planned.insert_id), beyond_limit=True
        )

    def stored(self, planned: Range, records: int) -> None:
        """Say that a range is stored. It can be read until `release`."""
        self._journal.append(Kind.FLUSHED, _FLUSHED.pack(planned.end, planned.insert_id), beyond_limit=True)
        with self._lock:
            self.position, self.insert_id = planned.end, planned.insert_id
            self.waiting = max(self.waiting - records, 0)

    def release(self, position: int) -> None:
        """Let segments go that end before `position`."""
        self._journal.release(position)

    def read(self, start: int, end: int | None = None) -> Iterator[Stored]:
        """The requests that lie between these positions, in order."""
        for record in self._journal.read(start, end):
            if record.kind == Kind.REQUEST and record.end > start:
                yield _stored(record)

    def close(self) -> None:
        self._journal.close()

    def _begin_segment(self) -> None:
        self._journal.roll_if_full()
        if self._segment != self._journal.segment:
            # Also in the first segment after a start, which is one that was there before: it does no harm.
            if self._recent:
                self._journal.append(Kind.SEEN, self._recent.packed(), beyond_limit=True)
            self._segment = self._journal.segment


class SeenRequests:
    """Digests in a journal of their own, for requests whose content goes elsewhere. Not safe for two threads at once."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._recent = RecentRequests()
        for record in journal.read():
            self._recent.unpack(record.payload)

    def __contains__(self, digest: bytes) -> bool:
        self._recent.forget(self._clock.now_ms())
        return digest in self._recent

    def add(self, digest: bytes) -> None:
        """Know this request again from now on; after a restart only if it can be written down."""
        now_ms = self._clock.now_ms()
        self._recent.add(digest, now_ms)
        try:
            if self._journal.roll_if_full():
                self._journal.append(Kind.SEEN, self._recent.packed(), beyond_limit=True)
                self._journal.release(self._journal.segment)
            else:
                self._journal.append(Kind.SEEN, _SEEN.pack(digest, now_ms), beyond_limit=True)
        except Unavailable as error:
            _log.warning("a request will not be known again after a restart", extra={"reason": str(error)})

    def close(self) -> None:
        self._journal.close()


def _stored(record: Record) -> Stored:
    _, _, records = _REQUEST.unpack_from(record.payload)
    return Stored(record.payload[_REQUEST.size :], records, record.end)
