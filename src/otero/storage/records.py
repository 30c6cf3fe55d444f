"""Log records and spans in the engine: their stores, and what is asked of them."""

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

from otero.clock import Clock
from otero.model.records import Signal
from otero.storage.engine import SqlEngine
from otero.storage.journal import Fsync, Journal
from otero.storage.logs import Logs
from otero.storage.migrate import set_record_retention
from otero.storage.otlp_view import make_views
from otero.storage.requests import SeenRequests
from otero.storage.signals import SignalStatus, SignalStore
from otero.storage.traces import Traces

_SEEN_BYTES = 4 << 20


class RecordStorage:
    """One store for each signal, in the engine of the metrics, whose schema is the newest.

    folder        of the journals, one below it for each signal.
    retention_ms  for each signal; 0 keeps for ever.
    """

    def __init__(
        self,
        engine: SqlEngine,
        folder: Path,
        clock: Clock,
        *,
        retention_ms: Mapping[Signal, int],
        journal_max_bytes: int = 2 << 30,
        fsync: Fsync = "interval",
    ) -> None:
        make_views(engine)
        for signal, span_ms in retention_ms.items():
            set_record_retention(engine, signal, span_ms)

        def store(signal: Signal) -> SignalStore:
            return SignalStore(
                signal, engine, folder / signal, clock, max_bytes=journal_max_bytes, fsync=fsync
            )

        self.stores: dict[Signal, SignalStore] = {"logs": store("logs"), "traces": store("traces")}
        self.logs = Logs(self.stores["logs"])
        self.traces = Traces(self.stores["traces"])
        self.seen_metrics = SeenRequests(
            Journal(
                folder / "otlp_metrics",
                max_bytes=4 * _SEEN_BYTES,
                segment_bytes=_SEEN_BYTES,
                fsync="interval",
            ),
            clock,
        )
        """Requests of metrics over OTLP; the metrics themselves are in the journal of the metric store."""

    def start(self) -> None:
        """Begin to insert, what the journals still hold first."""
        for store in self.stores.values():
            store.start()

    def stop(self) -> None:
        """Insert what waits and close the journals; the engine stays open."""
        for store in self.stores.values():
            store.stop()
        self.seen_metrics.close()

    def flush(self) -> None:
        """Insert everything that the journals hold now. Raises what the engine raises."""
        for store in self.stores.values():
            store.flush()

    @contextlib.contextmanager
    def inserting_paused(self) -> Generator[None]:
        """Nothing is inserted meanwhile; what comes in waits in the journals."""
        with contextlib.ExitStack() as stack:
            for store in self.stores.values():
                stack.enter_context(store.inserting_paused())
            yield

    def status(self) -> dict[Signal, SignalStatus]:
        """Numbers of each signal's store."""
        return {signal: store.status() for signal, store in self.stores.items()}
