"""The journal: what is acknowledged is written here first, in order, and read back from here.

One folder per signal holds segments, files named by the position at which they begin. A position is a count of bytes
since the journal was made; it only grows. Each record stands alone in a frame:

    length  u32  of what follows
    check   u64  XXH3 of what follows
    kind    u8
    payload

A write that a crash or a full disk cut short is cut off again, so that the next record follows a whole one. A record
that does not fit its checksum ends its segment for the reader: the rest of that segment is counted as lost, and reading
goes on with the next. Segments go when their records are released, whole segments only.
"""

import errno
import logging
import os
import struct
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import xxhash

from otero.errors import LimitExceeded, Unavailable

_log = logging.getLogger(__name__)

_FRAME = struct.Struct("<IQB")
_BODY_AT = 12
MAX_RECORD = 256 << 20

Fsync = Literal["interval", "always", "never"]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: `start` and `end` are its positions, `segment` is where its segment begins."""

    kind: int
    payload: bytes
    start: int
    end: int
    segment: int


class Journal:
    """An append-only log of records. One writer at a time (guarded), many readers.

    max_bytes      beyond it `append` raises Unavailable until something is released.
    segment_bytes  a segment is closed when it is larger.
    fsync          "interval": a thread syncs every `sync_every_s`; "always": each append; "never": the system decides.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        segment_bytes: int = 32 << 20,
        fsync: Fsync = "interval",
        sync_every_s: float = 1.0,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._fsync: Fsync = fsync
        self._lock = threading.Lock()
        self.corruptions = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.uuid = self._identity()
        self._segments = sorted(int(path.stem) for path in folder.glob("*.log"))
        if not self._segments:
            self._segments = [0]
        self._file = _open(self._path(self._segments[-1]))
        self._end = self._segments[-1] + self._cut_torn_tail()
        self._stored = self._segments[0]
        self._holds: dict[str, tuple[int, int]] = {}
        self._unsynced = False
        self._closing = threading.Event()
        self._syncer: threading.Thread | None = None
        if fsync == "interval":
            self._syncer = threading.Thread(
                target=self._sync_often, args=(sync_every_s,), name="journal", daemon=True
            )
            self._syncer.start()

    @property
    def end(self) -> int:
        """The position after the last record."""
        return self._end

    @property
    def first(self) -> int:
        """The position of the oldest record that is still there."""
        return self._segments[0]

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self._end - self._segments[0]

    @property
    def segment(self) -> int:
        """Where the segment that is written now begins."""
        return self._segments[-1]

    def roll_if_full(self) -> bool:
        """Begin a new segment when the present one is large enough; whether it did."""
        with self._lock:
            if self._end - self._segments[-1] < self._segment_bytes:
                return False
            self._roll()
            return True

    def append(self, kind: int, payload: bytes, *, beyond_limit: bool = False) -> int:
        """Write a record; the position after it. When this returns, `kill -9` does not lose it.

        Raises Unavailable when the journal or the disk is full, LimitExceeded for a record beyond MAX_RECORD; nothing
        is written then. A record without which the journal cannot shrink goes in `beyond_limit`.
        """
        body = bytes((kind,)) + payload
        if len(body) > MAX_RECORD:
            raise LimitExceeded(
                f"a batch of {len(body):,} bytes is more than {MAX_RECORD:,}: send it in parts"
            )
        frame = struct.pack("<IQ", len(body), xxhash.xxh3_64_intdigest(body)) + body
        with self._lock:
            waiting = self._end - max(self._stored, self._segments[0])
            if waiting + len(frame) > self._max_bytes and not beyond_limit:
                raise Unavailable(
                    f"the journal holds {waiting:,} bytes and may hold {self._max_bytes:,}"
                    " (storage.journal_max_bytes): the engine lags behind",
                    retry_after_s=10,
                )
            try:
                written = os.write(self._file, frame)
                while written < len(frame):
                    written += os.write(self._file, frame[written:])
                if self._fsync == "always":
                    os.fdatasync(self._file)
            except OSError as error:
                self._cut(self._end)
                raise _refused(error) from None
            self._end += len(frame)
            self._unsynced = True
            return self._end

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Record]:
        """Records from `start` (or the oldest) to `end` (or what is written now), segment by segment.

        A segment in which `start` lies is read from its beginning: its first records may define what later ones mean.
        """
        with self._lock:
            segments = list(self._segments)
            stop = self._end if end is None else end
        for at, begin in enumerate(segments):
            until = segments[at + 1] if at + 1 < len(segments) else stop
            if until <= start or begin >= stop:
                continue
            yield from self._read_segment(begin, min(until, stop))

    def tail(self, position: int, window: int = 8 << 20) -> Iterator[Record]:
        """Records from `position`, which is where a record begins, to what is written now, about `window` bytes of them.

        Unlike `read` it does not begin with the segment: its reader has read all that came before.
        """
        with self._lock:
            segments, stop = list(self._segments), self._end
        for at, begin in enumerate(segments):
            until = segments[at + 1] if at + 1 < len(segments) else stop
            if until <= position or window <= 0:
                continue
            start = max(position, begin)
            try:
                with self._path(begin).open("rb") as file:
                    file.seek(start - begin)
                    data = file.read(min(until - start, window))
                    found = list(_whole_records(data, start, until))
                    if not found:
                        data += file.read(until - start - len(data))
                        found = list(_whole_records(data, start, until))
            except FileNotFoundError:
                continue
            for record in found:
                yield replace(record, segment=begin)
            window -= len(data)
            if found and found[-1].end < until and len(data) < until - start:
                return

    def hold(self, name: str, position: int, max_bytes: int) -> None:
        """Keep what comes at and after `position` for a reader of this name, but not more than `max_bytes`."""
        with self._lock:
            self._holds[name] = (position, max_bytes)

    def let_go(self, name: str) -> None:
        """That reader needs nothing any more."""
        with self._lock:
            self._holds.pop(name, None)

    def _read_segment(self, begin: int, until: int) -> Iterator[Record]:
        try:
            data = self._path(begin).read_bytes()
        except FileNotFoundError:
            return
        end = begin
        for record in _whole_records(data, begin, until):
            end = record.end
            yield record
        size = min(begin + len(data), until) - end
        if size > 0:
            self.corruptions += 1
            _log.error(
                "a journal segment is damaged; the rest of it is lost",
                extra={"segment": str(self._path(begin)), "offset": end - begin, "lost_bytes": size},
            )

    def release(self, position: int) -> None:
        """Everything before `position` is stored elsewhere: segments that end there or before go."""
        with self._lock:
            written = self._end - self._segments[-1]
            if position >= self._end and written and written >= self._segment_bytes // 4:
                try:
                    self._roll()
                except Unavailable:
                    return
            self._stored = max((begin for begin in self._segments if begin <= position), default=self._stored)
            for held, max_bytes in self._holds.values():
                position = min(position, max(held, self._end - max_bytes))
            while len(self._segments) > 1 and self._segments[1] <= position:
                self._path(self._segments.pop(0)).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make what is written survive a power loss."""
        with self._lock:
            file, due, self._unsynced = self._file, self._unsynced, False
            if due:
                file = os.dup(file)
        if due:
            try:
                os.fdatasync(file)
            finally:
                os.close(file)

    def close(self) -> None:
        """Sync and close; the journal is not used afterwards."""
        self._closing.set()
        if self._syncer is not None:
            self._syncer.join()
        self.sync()
        with self._lock:
            os.close(self._file)
            self._file = -1  # the number may be another file's soon

    def _roll(self) -> None:
        try:
            file = _open(self._path(self._end))
        except OSError as error:
            raise _refused(error) from None
        os.fdatasync(self._file)
        os.close(self._file)
        self._file = file
        self._segments.append(self._end)

    def _cut(self, end: int) -> None:
        """Take back a write that did not succeed as a whole."""
        length = end - self._segments[-1]
        try:
            os.ftruncate(self._file, length)
            os.lseek(self._file, length, os.SEEK_SET)
        except OSError as error:
            _log.error("cannot cut an unfinished record off the journal", extra={"reason": str(error)})

    def _cut_torn_tail(self) -> int:
        """The length of the whole records of the last segment; what follows them is cut off."""
        begin = self._segments[-1]
        size = os.fstat(self._file).st_size
        whole = 0
        for record in _whole_records(self._path(begin).read_bytes(), begin, begin + size):
            whole = record.end - begin
        if whole < size:
            _log.warning("an unfinished record was cut off the journal", extra={"bytes": size - whole})
            os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        return whole

    def _identity(self) -> str:
        path = self._folder / "uuid"
        if path.exists():
            return path.read_text().strip()
        identity = str(uuid.uuid4())
        path.write_text(f"{identity}\n")
        return identity

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:020d}.log"

    def _sync_often(self, every_s: float) -> None:
        while not self._closing.wait(every_s):
            try:
                self.sync()
            except OSError as error:
                _log.error("cannot sync the journal", extra={"reason": str(error)})


def _whole_records(data: bytes, begin: int, until: int) -> Iterator[Record]:
    """The records of a segment's bytes up to the first that is not whole."""
    at = 0
    size = min(len(data), until - begin)
    while at + _FRAME.size <= size:
        length, check, kind = _FRAME.unpack_from(data, at)
        after = at + _BODY_AT + length
        if not 1 <= length <= MAX_RECORD or after > size:
            return
        if xxhash.xxh3_64_intdigest(memoryview(data)[at + _BODY_AT : after]) != check:
            return
        yield Record(kind, data[at + _FRAME.size : after], begin + at, begin + after, begin)
        at = after


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _refused(error: OSError) -> Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Unavailable("the disk is full: writes are refused until there is room again", retry_after_s=30)
    return Unavailable(f"the journal cannot be written: {error.strerror}", retry_after_s=30)
