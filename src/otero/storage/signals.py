"""What storing log records and storing spans have in common: journal first, then few inserts that the engine parses.

append ─▶ journal                                     acknowledged
             └─ a thread ─▶ engine                    at most one insert a second, larger under load
view   ◀─ engine (up to an insert id) + journal (what was not inserted by then)
"""

import contextlib
import logging
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from otero.clock import Clock
from otero.errors import Bug, LimitExceeded, OteroError
from otero.model.records import RecordBatch, Signal
from otero.storage.engine import SqlEngine
from otero.storage.journal import Fsync, Journal
from otero.storage.otlp_view import SCHEMAS, insert_id_field
from otero.storage.requests import Range, RequestJournal, Stored
from otero.telemetry import REGISTRY

_log = logging.getLogger(__name__)

_MAX_BYTES = 12 << 20
_MAX_RECORDS = 40_000
"""Of one insert: more makes the engine no faster and takes more memory."""
_LARGE = 20_000
"""Records that do not wait for their second."""
_RETRY_S = 5.0
_SEGMENT_BYTES = 16 << 20

INSERT_SECONDS = Histogram(
    "otero_storage_record_insert_duration_seconds",
    "Time to insert one journal range of log records or spans into the engine.",
    ["signal"],
    registry=REGISTRY,
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
INSERTED = Counter(
    "otero_storage_inserted_records", "Log records and spans inserted.", ["signal"], registry=REGISTRY
)
INSERT_FAILURES = Counter(
    "otero_storage_record_insert_failures",
    "Inserts that failed and are tried again.",
    ["signal"],
    registry=REGISTRY,
)
SET_ASIDE = Counter(
    "otero_storage_requests_set_aside",
    "Requests that the engine could not read.",
    ["signal"],
    registry=REGISTRY,
)
WAITING = Gauge(
    "otero_storage_records_waiting",
    "Records in the journal, not yet in the engine.",
    ["signal"],
    registry=REGISTRY,
)


@dataclass(frozen=True, slots=True)
class SignalStatus:
    """Numbers of one signal's store."""

    waiting: int
    journal_bytes: int
    lag_s: float
    writable: bool


@dataclass(frozen=True, slots=True)
class View:
    """What was acknowledged at one moment: rows with an insert id up to `insert_id`, and the requests of the journal
    that no such row comes from."""

    insert_id: int
    _journal: RequestJournal
    _start: int
    _end: int

    def waiting(self) -> Iterator[Stored]:
        """The requests that are not inserted, in order; only within `SignalStore.view`."""
        return self._journal.read(self._start, self._end) if self._end > self._start else iter(())


class SignalStore:
    """Stores requests of one signal. `start` makes it insert; `append` and `view` work before that too.

    folder       of its journal.
    interval_s   the least time between two inserts, unless many records wait.
    """

    def __init__(
        self,
        signal: Signal,
        engine: SqlEngine,
        folder: Path,
        clock: Clock,
        *,
        max_bytes: int = 2 << 30,
        fsync: Fsync = "interval",
        interval_s: float = 1.0,
    ) -> None:
        self.signal: Signal = signal
        self.engine = engine
        self._folder = folder
        self._clock = clock
        self._interval_s = interval_s
        self._journal = RequestJournal(
            Journal(folder, max_bytes=max_bytes, segment_bytes=_SEGMENT_BYTES, fsync=fsync), clock
        )
        self._inserting = threading.RLock()
        self._lock = threading.Lock()
        self._pins: list[int] = []
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting_since_s = clock.monotonic_s()
        self._failure = ""
        self._refused = False
        planned = self._journal.planned
        # Whatever the table holds was inserted before, but perhaps what is planned and was cut short.
        self._visible = (
            planned[0].insert_id - 1
            if planned
            else max(self._journal.insert_id or self._newest_insert(), self._now_us())
        )

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to insert, what the journal still holds first."""
        self._thread = threading.Thread(target=self._insert_often, name=f"insert {self.signal}", daemon=True)
        self._thread.start()
        if self._journal.waiting:
            self._wake.set()

    def stop(self) -> None:
        """Insert what waits and close the journal; the engine stays open."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            try:
                self.flush()
            except OteroError as error:
                _log.warning(
                    "not all %s are in the engine; the journal keeps them",
                    self.signal,
                    extra={"reason": str(error)},
                )
        self._journal.close()

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, batch: RecordBatch) -> bool:
        """Store a request; when this returns, it is acknowledged. False when the very same came within five minutes
        and is not stored again. Raises Unavailable when it is not stored."""
        begins = not self._journal.waiting
        try:
            new = self._journal.append(batch)
        except OteroError:
            self._refused = True
            raise
        self._refused = False
        if new:
            if begins:
                self._waiting_since_s = self._clock.monotonic_s()
            if begins or self._journal.waiting >= _LARGE:
                self._wake.set()
        return new

    def flush(self) -> None:
        """Insert everything that the journal holds now. Raises what the engine raises."""
        with self._inserting:
            until = self._journal.end
            while self._journal.position < until and self._insert_next():
                pass

    @contextlib.contextmanager
    def inserting_paused(self) -> Generator[None]:
        """Nothing is inserted meanwhile; what comes in waits in the journal."""
        with self._inserting:
            yield

    def _insert_next(self) -> bool:
        """Insert one range; whether there was anything."""
        journal = self._journal
        if journal.planned:
            planned = journal.planned[0]
            requests = list(journal.read(planned.start, planned.end))
        else:
            requests = self._collect()
            if not requests:
                return False
            insert_id = max(self._visible + 1, self._now_us())
            planned = Range(journal.position, requests[-1].end, insert_id)
            with self._lock:
                self._visible = insert_id - 1
            journal.plan(planned)
            journal.planned.append(planned)
        began_s = self._clock.monotonic_s()
        self._insert(planned, requests)
        records = sum(request.records for request in requests)
        with self._lock:
            journal.stored(planned, records)
            journal.planned.pop(0)
            self._visible = planned.insert_id
            self._waiting_since_s = began_s
            journal.release(min([planned.end, *self._pins]))
        INSERT_SECONDS.labels(self.signal).observe(self._clock.monotonic_s() - began_s)
        INSERTED.labels(self.signal).inc(records)
        WAITING.labels(self.signal).set(journal.waiting)
        return True

    def _collect(self) -> list[Stored]:
        """The requests after what is stored, as many as one insert takes."""
        found: list[Stored] = []
        size = records = 0
        for request in self._journal.read(self._journal.position):
            size += len(request.payload)
            records += request.records
            if found and (size > _MAX_BYTES or records > _MAX_RECORDS):
                break
            found.append(request)
        return found

    def _insert(self, planned: Range, requests: list[Stored]) -> None:
        token = f"{self._journal.uuid}:{planned.start}-{planned.end}"
        try:
            self._insert_message(requests, planned.insert_id, token)
        except (Bug, LimitExceeded) as error:
            # One request that the engine cannot read must not hold up the others. A replay does the same again.
            _log.warning(
                "an insert of %s failed as a whole; its requests go one by one",
                self.signal,
                extra={"reason": str(error)},
            )
            for number, request in enumerate(requests):
                try:
                    self._insert_message([request], planned.insert_id, f"{token}:{number}")
                except (Bug, LimitExceeded) as cause:
                    self._set_aside(request, cause)

    def _insert_message(self, requests: list[Stored], insert_id: int, token: str) -> None:
        parts = [request.payload for request in requests]
        if not any(parts):
            return
        self.engine.insert_message(
            f"otlp_{self.signal}",
            [*parts, insert_id_field(insert_id)],
            SCHEMAS[self.signal],
            token=token,
            lane=self.signal,
        )

    def _set_aside(self, request: Stored, error: OteroError) -> None:
        """Keep the bytes of a request that the engine cannot read, for somebody to look at."""
        folder = self._folder / "unreadable"
        folder.mkdir(exist_ok=True)
        path = folder / f"{request.end:020d}.pb"
        path.write_bytes(request.payload)
        SET_ASIDE.labels(self.signal).inc()
        _log.error(
            "the engine cannot read a request; please report it with the file",
            extra={"file": str(path), "records": request.records, "reason": str(error)},
        )

    def _insert_often(self) -> None:
        last_s = -self._interval_s
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            wait_s = last_s + self._interval_s - self._clock.monotonic_s()
            if self._journal.waiting < _LARGE and wait_s > 0:
                self._stopping.wait(wait_s)
            if self._stopping.is_set():
                return
            last_s = self._clock.monotonic_s()
            try:
                self.flush()
                if self._failure:
                    _log.info("the engine stores %s again", self.signal)
                self._failure = ""
            except Exception as error:
                self._told_failure(error)
                self._stopping.wait(_RETRY_S)
            if self._journal.waiting:
                self._wake.set()

    def _told_failure(self, error: Exception) -> None:
        INSERT_FAILURES.labels(self.signal).inc()
        known = isinstance(error, OteroError)
        text = str(error) if known else f"internal error: {type(error).__name__}"
        if text != self._failure:
            _log.error(
                "the engine does not store %s; the journal keeps them",
                self.signal,
                extra={"reason": text},
                exc_info=None if known else error,
            )
        self._failure = text

    # -- reading -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def view(self) -> Generator[View]:
        """What is acknowledged now; the journal keeps what is not inserted until the block ends."""
        with self._lock:
            start = self._journal.position
            self._pins.append(start)
            view = View(self._visible, self._journal, start, self._journal.end)
        try:
            yield view
        finally:
            with self._lock:
                self._pins.remove(start)

    def status(self) -> SignalStatus:
        waiting = self._journal.waiting
        lag_s = self._clock.monotonic_s() - self._waiting_since_s if waiting else 0.0
        return SignalStatus(waiting, self._journal.nbytes, lag_s, not self._refused)

    def _newest_insert(self) -> int:
        """Of the table: what a restored backup holds may be ahead of this machine's clock."""
        found = self.engine.table(f"SELECT max(InsertId) AS newest FROM otel_{self.signal}")
        return int(found["newest"][0].as_py())

    def _now_us(self) -> int:
        return self._clock.now_ms() * 1000
