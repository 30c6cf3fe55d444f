"""The ledger of decisions about alerts: journal first, then one insert a second at most.

record ─▶ journal                            survives kill -9
             └─ a thread ─▶ alert_decisions
read   ◀─ journal (what was not inserted by then) + alert_decisions

Every decision has a sequence number that rises and is never given twice. So whatever a crash interrupts, what the
engine has of the journal is told by comparing numbers, and nothing else need be written down.
"""

import contextlib
import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from prometheus_client import Counter

from otero.clock import Clock
from otero.errors import OteroError
from otero.model.budget import Budget
from otero.model.decisions import Decision, DecisionKind
from otero.storage.engine import Column, Parameter, SqlEngine
from otero.storage.journal import Fsync, Journal
from otero.storage.migrate import set_decision_retention
from otero.storage.signals import SignalStatus
from otero.telemetry import REGISTRY

_log = logging.getLogger(__name__)

_DECISION = 1
"""The only kind of record in the journal."""
_MAX_ROWS = 20_000
_WINDOW_BYTES = 8 << 20
_SEGMENT_BYTES = 4 << 20
_RETRY_S = 5.0
_MAX_TEXT = 4_000
_MAX_DETAIL_BYTES = 16_000

RECORDED = Counter("otero_alert_decisions_recorded", "Decisions about alerts taken down.", registry=REGISTRY)
DROPPED = Counter(
    "otero_alert_decisions_dropped",
    "Decisions about alerts that could not be taken down: the journal or the disk is full.",
    registry=REGISTRY,
)
INSERT_FAILURES = Counter(
    "otero_alert_decisions_insert_failures",
    "Inserts of decisions that failed and are tried again.",
    registry=REGISTRY,
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was taken down; those of one millisecond are in order of `sequence`."""

    sequence: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions: those about alerts of this name or fingerprint, and those about these groups as a whole."""

    start_ms: int
    end_ms: int
    alertname: str = ""
    fingerprint: int = 0
    group_keys: Sequence[str] = ()

    def __contains__(self, decision: Decision) -> bool:
        return self.start_ms <= decision.time_ms <= self.end_ms and (
            bool(self.alertname and decision.alertname == self.alertname)
            or bool(self.fingerprint and decision.fingerprint == self.fingerprint)
            or (not decision.fingerprint and decision.group_key in self.group_keys)
        )

    def condition(self) -> tuple[str, dict[str, Parameter]]:
        """The same in SQL, and its parameters."""
        about = ["fingerprint = 0 AND group_key IN {groups:Array(String)}"]
        parameters: dict[str, Parameter] = {
            "start": self.start_ms,
            "end": self.end_ms,
            "groups": list(self.group_keys),
        }
        if self.alertname:
            about.append("alertname = {alertname:String}")
            parameters["alertname"] = self.alertname
        if self.fingerprint:
            about.append("fingerprint = {fingerprint:UInt64}")
            parameters["fingerprint"] = self.fingerprint
        return f"time BETWEEN {{start:Int64}} AND {{end:Int64}} AND ({' OR '.join(about)})", parameters


class Ledger:
    """Takes decisions down and reads them back. `start` makes it insert; `record` and `read` work before that too.

    folder        of its journal.
    retention_ms  0 keeps for ever.
    max_bytes     of the journal; beyond it decisions are dropped, counted.
    fsync         of the journal; "always" counts as "interval", as a decision must not wait for the disk.
    interval_s    the least time between two inserts.
    """

    def __init__(
        self,
        engine: SqlEngine,
        folder: Path,
        clock: Clock,
        *,
        retention_ms: int = 0,
        max_bytes: int = 256 << 20,
        fsync: Fsync = "interval",
        interval_s: float = 1.0,
    ) -> None:
        set_decision_retention(engine, retention_ms)
        self._engine = engine
        self._clock = clock
        self._interval_s = interval_s
        self._journal = Journal(
            folder,
            max_bytes=max_bytes,
            segment_bytes=_SEGMENT_BYTES,
            fsync="never" if fsync == "never" else "interval",
        )
        self._position = self._journal.first
        """Everything before it is in the engine."""
        self._doubtful = self._journal.end
        """Of what comes between, something may be in the engine too: from before a crash, or of an insert that failed."""
        self._sequence = _newest(engine)
        self._waiting = 0
        for record in self._journal.read():
            self._sequence = max(self._sequence, _decoded(record.payload).sequence)
            self._waiting += 1
        self._waiting_since_s = clock.monotonic_s()
        self._failure = ""
        self._dropping = False
        self._lock = threading.Lock()
        self._inserting = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to insert, what the journal still holds first."""
        self._thread = threading.Thread(target=self._insert_often, name="insert decisions", daemon=True)
        self._thread.start()
        if self._waiting:
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
                    "not all decisions about alerts are in the engine; the journal keeps them",
                    extra={"reason": str(error)},
                )
        self._journal.close()

    def status(self) -> SignalStatus:
        """Its numbers, as those of other signals."""
        waiting = self._waiting
        lag_s = self._clock.monotonic_s() - self._waiting_since_s if waiting else 0.0
        return SignalStatus(waiting, self._journal.nbytes, lag_s, not self._dropping)

    # -- writing -------------------------------------------------------------------------------------------------

    def record(self, decision: Decision) -> None:
        """Take a decision down: a `Record`. When this returns, `kill -9` does not lose it, unless it was dropped."""
        try:
            row = _Row.of(decision)
            with self._lock:
                row.sequence = max(self._sequence + 1, self._clock.now_ms() * 1000)
                self._journal.append(_DECISION, _ENCODER.encode(row))
                self._sequence = row.sequence
                if not self._waiting:
                    self._waiting_since_s = self._clock.monotonic_s()
                self._waiting += 1
        except Exception as error:  # whoever decides about alerts must go on deciding
            self._drop(error)
            return
        self._dropping = False
        RECORDED.inc()
        self._wake.set()

    def flush(self) -> None:
        """Insert everything that was recorded by now. Raises what the engine raises."""
        with self._inserting:
            until = self._journal.end
            while self._position < until and self._insert_next():
                pass

    @contextlib.contextmanager
    def inserting_paused(self) -> Generator[None]:
        """Nothing is inserted meanwhile; what is recorded waits in the journal."""
        with self._inserting:
            yield

    def _drop(self, error: Exception) -> None:
        DROPPED.inc()
        if not self._dropping:
            known = isinstance(error, OteroError)
            _log.error(
                "decisions about alerts are not taken down; `otero why` will not know of them",
                extra={"reason": str(error) if known else f"internal error: {type(error).__name__}"},
                exc_info=None if known else error,
            )
        self._dropping = True

    def _insert_next(self) -> bool:
        """Insert what one insert takes; whether there was anything."""
        records = list(self._journal.tail(self._position, _WINDOW_BYTES))[:_MAX_ROWS]
        if not records:
            return False
        rows = [_decoded(record.payload) for record in records]
        missing = rows
        if self._position < self._doubtful:
            known = self._known(rows)
            missing = [row for row in rows if row.sequence not in known]
        was_doubtful, self._doubtful = self._doubtful, max(self._doubtful, records[-1].end)
        if missing:
            token = f"decisions {missing[0].sequence}-{missing[-1].sequence} {len(missing)}"
            self._engine.insert("alert_decisions", _columns(missing), token=token)
        with self._lock:
            self._position = records[-1].end
            self._doubtful = max(was_doubtful, self._position)
            self._waiting -= len(rows)
            self._waiting_since_s = self._clock.monotonic_s()
        # Rolling the segment syncs it with recorders waiting; here, where nobody waits, it is nearly all done.
        self._journal.sync()
        self._journal.roll_if_full()
        self._journal.release(self._position)
        return True

    def _known(self, rows: Sequence["_Row"]) -> set[int]:
        """Which of these the engine has."""
        times = [row.time_ms for row in rows]
        found = self._engine.table(
            "SELECT sequence FROM alert_decisions WHERE time BETWEEN {start:Int64} AND {end:Int64}"
            " AND sequence BETWEEN {first:UInt64} AND {last:UInt64}",
            {
                "start": min(times),
                "end": max(times),
                "first": rows[0].sequence,
                "last": rows[-1].sequence,
            },
        )
        return set(found["sequence"].to_pylist())

    def _insert_often(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self.flush()
                if self._failure:
                    _log.info("the engine stores decisions about alerts again")
                self._failure = ""
                self._stopping.wait(self._interval_s)
            except Exception as error:
                self._told_failure(error)
                self._wake.set()
                self._stopping.wait(_RETRY_S)

    def _told_failure(self, error: Exception) -> None:
        INSERT_FAILURES.inc()
        known = isinstance(error, OteroError)
        text = str(error) if known else f"internal error: {type(error).__name__}"
        if text != self._failure:
            _log.error(
                "the engine does not store decisions about alerts; the journal keeps them",
                extra={"reason": text},
                exc_info=None if known else error,
            )
        self._failure = text

    # -- reading -------------------------------------------------------------------------------------------------

    def read(self, wanted: Wanted, *, limit: int, budget: Budget) -> list[Recorded]:
        """The newest decisions that are wanted, at most `limit`, oldest first. What was recorded before is found."""
        # The journal first: what is inserted and released meanwhile, the engine then has.
        found: dict[int, Recorded] = {}
        for row in self._not_inserted(budget):
            recorded = Recorded(row.sequence, row.decision())
            if recorded.decision in wanted:
                found[row.sequence] = recorded
        condition, parameters = wanted.condition()
        for batch in self._engine.stream(
            f"SELECT * FROM alert_decisions WHERE {condition}"
            " ORDER BY time DESC, sequence DESC LIMIT {limit:UInt64}",
            {**parameters, "limit": limit},
            budget=budget,
        ):
            budget.charge(batch.num_rows)
            for cells in batch.to_pylist():
                recorded = _recorded(cells)
                found[recorded.sequence] = recorded
        ordered = sorted(found.values(), key=lambda one: (one.decision.time_ms, one.sequence))
        return ordered[-limit:]

    def names(self, start_ms: int, *, budget: Budget) -> set[str]:
        """The names of the alerts about which anything was decided since then."""
        names = set[str]()
        for row in self._not_inserted(budget):
            if row.time_ms >= start_ms:
                names.add(row.alertname)
        for batch in self._engine.stream(
            "SELECT DISTINCT alertname FROM alert_decisions WHERE time >= {start:Int64}",
            {"start": start_ms},
            budget=budget,
        ):
            names |= {_text(name) for name in batch.column("alertname").to_pylist()}
        return names - {""}

    def _not_inserted(self, budget: Budget) -> Iterator["_Row"]:
        position = self._position
        for record in self._journal.read(position):
            budget.check()
            if record.start >= position:
                yield _decoded(record.payload)


class _Row(msgspec.Struct, array_like=True):
    """A decision as the journal has it."""

    sequence: int
    time_ms: int
    kind: str
    alertname: str
    fingerprint: int
    labels: dict[str, str]
    group_key: str
    receiver: str
    integration: str
    text: str
    detail: bytes

    @classmethod
    def of(cls, decision: Decision) -> "_Row":
        text = decision.text
        detail = msgspec.json.encode(dict(decision.detail), enc_hook=str) if decision.detail else b"{}"
        return cls(
            0,
            decision.time_ms,
            str(decision.kind),
            decision.alertname,
            decision.fingerprint,
            dict(decision.labels),
            decision.group_key,
            decision.receiver,
            decision.integration,
            text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…",
            detail if len(detail) <= _MAX_DETAIL_BYTES else b'{"omitted":"too large"}',
        )

    def decision(self) -> Decision:
        return Decision(
            self.time_ms,
            DecisionKind(self.kind),
            self.alertname,
            self.fingerprint,
            self.labels,
            self.group_key,
            self.receiver,
            self.integration,
            self.text,
            msgspec.json.decode(self.detail),
        )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Row)


def _decoded(payload: bytes) -> _Row:
    return _DECODER.decode(payload)


def _columns(rows: Sequence[_Row]) -> list[Column]:
    def texts(name: str, values: list[str]) -> Column:
        return Column(name, "String", [value.encode() for value in values])

    keys = [key.encode() for row in rows for key in row.labels]
    values = [value.encode() for row in rows for value in row.labels.values()]
    return [
        Column("time", "Int64", np.array([row.time_ms for row in rows], np.int64)),
        Column("sequence", "UInt64", np.array([row.sequence for row in rows], np.uint64)),
        texts("kind", [row.kind for row in rows]),
        texts("alertname", [row.alertname for row in rows]),
        Column("fingerprint", "UInt64", np.array([row.fingerprint for row in rows], np.uint64)),
        Column(
            "labels",
            "Map(String, String)",
            keys + values,
            ends=np.cumsum([len(row.labels) for row in rows], dtype=np.int64),
        ),
        texts("group_key", [row.group_key for row in rows]),
        texts("receiver", [row.receiver for row in rows]),
        texts("integration", [row.integration for row in rows]),
        texts("text", [row.text for row in rows]),
        Column("detail", "String", [row.detail for row in rows]),
    ]


def _recorded(cells: dict[str, object]) -> Recorded:
    """A row of the engine."""
    labels = {_text(name): _text(value) for name, value in cells.pop("labels")}  # pyright: ignore[reportGeneralTypeIssues]
    texts = {
        name: _text(cells[name])
        for name in ("kind", "alertname", "group_key", "receiver", "integration", "text")
    }
    row = _Row(
        sequence=cells["sequence"],  # pyright: ignore[reportArgumentType]
        time_ms=cells["time"],  # pyright: ignore[reportArgumentType]
        fingerprint=cells["fingerprint"],  # pyright: ignore[reportArgumentType]
        labels=labels,
        detail=cells["detail"],  # pyright: ignore[reportArgumentType]
        **texts,
    )
    return Recorded(row.sequence, row.decision())


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _newest(engine: SqlEngine) -> int:
    return int(engine.table("SELECT max(sequence) AS newest FROM alert_decisions")["newest"][0].as_py())
