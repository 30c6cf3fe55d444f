import pytest
from prometheus_client import REGISTRY, Counter

from otero_sdk import metrics


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_counter_in_one_line_with_series_from_the_start() -> None:
    orders = metrics.counter("test_orders_total", "Orders.", {"kind": ["web", "shop"], "paid": ["yes", "no"]})
    assert value("test_orders_total", kind="web", paid="no") == 0
    orders.labels("shop", "yes").inc()
    assert value("test_orders_total", kind="shop", paid="yes") == 1


def test_making_it_again_gives_the_same() -> None:
    first = metrics.gauge("test_queue_length", "Jobs that wait.", ["queue"], across="max")
    assert metrics.gauge("test_queue_length", "Jobs that wait.", ["queue"], across="max") is first
    with pytest.raises(ValueError, match=r"test_queue_length is already a gauge with labels \('queue',\)"):
        metrics.gauge("test_queue_length", "Jobs that wait.")
    with pytest.raises(ValueError, match="is already a gauge"):
        metrics.counter("test_queue_length", "Jobs that wait.", ["queue"])


def test_histograms_have_buckets() -> None:
    sizes = metrics.histogram("test_upload_bytes", "Sizes.", buckets=(10, 100))
    sizes.observe(50)
    assert value("test_upload_bytes_bucket", le="10.0") == 0
    assert value("test_upload_bytes_bucket", le="100.0") == 1


def test_active_users() -> None:
    metrics.active_users().set(3)
    metrics.active_users().dec()
    assert value("active_users_total") == 2


def test_mistakes_are_told() -> None:
    with pytest.raises(TypeError, match="a list of names"):
        metrics.counter("test_wrong_total", "x", "kind")
    with pytest.raises(ValueError, match="average"):
        metrics.gauge("test_wrong", "x", across="average")  # type: ignore[arg-type]
    Counter("test_taken_total", "x")
    with pytest.raises(ValueError, match="test_taken_total: Duplicated timeseries"):
        metrics.counter("test_taken_total", "x")
