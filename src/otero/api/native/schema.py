"""The native API's messages."""

import msgspec


class Problem(msgspec.Struct):
    """Problem details (RFC 9457): why a request was refused."""

    type: str
    title: str
    status: int
    detail: str


class Door(msgspec.Struct):
    """One way in: a listening address and what answers there."""

    name: str
    address: str


class StorageStatus(msgspec.Struct):
    """What is stored, and where it waits. Sizes in bytes, times in milliseconds since the epoch."""

    series: int
    head_samples: int
    head_bytes: int
    head_min_time_ms: int
    head_max_time_ms: int
    journal_bytes: int
    engine_lag_s: float
    writable: bool


class RecordStatus(msgspec.Struct):
    """Log records, spans or decisions about alerts: how many wait in the journal, its bytes, for how long the engine is behind."""

    waiting: int
    journal_bytes: int
    engine_lag_s: float
    writable: bool


class Status(msgspec.Struct):
    """The state of the server."""

    version: str
    started_ms: int
    ready: bool
    doors: list[Door]
    targets_up: int
    targets_down: int
    config_reloaded_ms: int
    config_reload_ok: bool
    resident_bytes: int
    cpu_seconds: float
    storage: StorageStatus
    records: dict[str, RecordStatus]


class RunningQuery(msgspec.Struct):
    """A query that is running or waits for a free worker."""

    id: int
    kind: str
    query: str
    age_s: float


class Cancelled(msgspec.Struct):
    """A query that was told to stop."""

    id: int


class BackupRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where the server shall write a backup: an absolute path of a folder that does not exist yet or is empty."""

    directory: str


class BackupReport(msgspec.Struct):
    """A backup that was written and read back."""

    directory: str
    bytes: int
    samples: int
    logs: int
    spans: int
    decisions: int
    seconds: float
