"""Log lines are JSON and rejections are counted."""

import json
import logging
import sys

from otero import telemetry


def _record(message: str, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("otero.test", logging.WARNING, __file__, 1, message, (), None)
    record.__dict__.update(extra)
    return record


def test_a_log_line_is_one_json_object_with_its_extra_fields() -> None:
    line = telemetry.JsonLines().format(_record("queue\nfull", door="scrape", count=3))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["level"] == "warning"
    assert fields["message"] == "queue\nfull"
    assert (fields["door"], fields["count"]) == ("scrape", 3)
    assert fields["time"].endswith("Z")


def test_an_exception_becomes_a_field() -> None:
    record = _record("failed")
    try:
        raise ValueError("seven")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: seven" in json.loads(telemetry.JsonLines().format(record))["exception"]


def test_rejections_are_counted_by_door_and_reason() -> None:
    labels = {"door": "test", "reason": "too_large"}
    before = telemetry.REGISTRY.get_sample_value("otero_rejected_total", labels) or 0
    telemetry.rejected("test", "too_large", 2)
    telemetry.rejected("test", "too_large", 0)
    assert telemetry.REGISTRY.get_sample_value("otero_rejected_total", labels) == before + 2
