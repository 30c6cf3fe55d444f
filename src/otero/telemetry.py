"""Otero's own metrics and logs.

Every component declares its metrics here or registers a collector of its state with `REGISTRY`; `/metrics` renders the
registry and Otero scrapes itself like any other target. Logs are JSON lines on stderr, once per batch, never per sample.
"""

import json
import logging
import sys
import time
import traceback
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

REJECTED: Final = Counter(
    "otero_rejected",
    "What came in and was not stored, by door and reason.",
    ["door", "reason"],
    registry=REGISTRY,
)
INGESTED: Final = Counter(
    "otero_ingested_samples", "Samples that were accepted, by door.", ["door"], registry=REGISTRY
)
INGESTED_RECORDS: Final = Counter(
    "otero_ingested_records",
    "Log records and spans that were accepted, by door and signal.",
    ["door", "signal"],
    registry=REGISTRY,
)
SCRAPES: Final = Counter("otero_scrapes", "Scrapes by outcome: ok or failed.", ["outcome"], registry=REGISTRY)
HTTP_SECONDS: Final = Histogram(
    "otero_http_request_duration_seconds",
    "Time to answer HTTP requests, by route and status code.",
    ["handler", "method", "code"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)
QUERY_SECONDS: Final = Histogram(
    "otero_query_duration_seconds",
    "Time to evaluate queries, waiting for a free worker included, by kind and outcome.",
    ["kind", "outcome"],
    registry=REGISTRY,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)


def rejected(door: str, reason: str, count: int = 1) -> None:
    """Count what a door refused. `reason` is a short snake_case word from a fixed set, never the input's text."""
    if count:
        REJECTED.labels(door, reason).inc(count)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and what was passed as `extra`."""

    _standard = frozenset(logging.makeLogRecord({}).__dict__) | {
        "message",
        "asctime",
        "taskName",
        "color_message",
    }

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in record.__dict__.items() if key not in self._standard)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up_logging(level: str = "info") -> None:
    """Send the records of all loggers to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
