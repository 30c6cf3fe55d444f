"""What the HTTP dialects work with; `app.py` fills it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.external import ExternalAlertmanagers
from otero.api.queries import QueryPool
from otero.clock import Clock
from otero.ingest.receivers.otlp.export import OtlpExport
from otero.ingest.receivers.pushgateway import Pushgateway
from otero.ingest.receivers.remote_write import RemoteWriteReceiver
from otero.ingest.scrape.manager import ScrapeManager
from otero.query.promql.engine import Engine
from otero.rules.scheduler import Scheduler
from otero.storage.ledger import Ledger
from otero.storage.metrics import MetricStore
from otero.storage.records import RecordStorage
from otero.storage.state import State


@dataclass(frozen=True, slots=True)
class Settings:
    """What the API shows of the configuration in force."""

    yaml: str
    jobs: tuple[str, ...]
    external_labels: Mapping[str, str]
    retention_ms: int


class Lifecycle(Protocol):
    """State of the running server that the API shows or changes."""

    @property
    def settings(self) -> Settings: ...

    @property
    def ready(self) -> bool: ...

    @property
    def started_ms(self) -> int: ...

    @property
    def reloaded_ms(self) -> int: ...

    @property
    def reload_ok(self) -> bool: ...

    @property
    def doors(self) -> Sequence[tuple[str, str]]: ...

    async def reload(self) -> None: ...


@dataclass(frozen=True)
class ApiContext:
    """The parts of one Otero that its HTTP API speaks of."""

    clock: Clock
    store: MetricStore
    state: State
    engine: Engine
    queries: QueryPool
    scrapes: ScrapeManager
    records: RecordStorage
    ledger: Ledger
    rules: Scheduler
    external_alertmanagers: ExternalAlertmanagers
    alertmanager: Alertmanager
    remote_write: RemoteWriteReceiver
    otlp: OtlpExport
    pushgateway: Pushgateway
    lifecycle: Lifecycle
    flags: Mapping[str, str]
