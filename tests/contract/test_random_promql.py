"""The reference evaluator and the engine beside Debian's Prometheus, over random expressions with a fixed seed.

Prometheus 2 has closed ranges where Prometheus 3 leaves out the start. Samples lie 237 ms and more past whole seconds
and queries 17 s past whole multiples of 30 s, so that no sample and no inner step lies on an edge.
"""

import itertools
import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import cramjam
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from otero.model.samples import STALE
from otero.wire.pb import remote_write_v1_pb2 as pb
from tests.e2e.conftest import running_prometheus
from tests.query.promql import range_reference, reference
from tests.query.promql.expressions import vectors
from tests.query.promql.reference import Element, Series, Table
from tests.query.promql.test_random_expressions import (
    found_instant,
    found_range,
    same,
    wanted_instant,
    wanted_range,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BASE_MS = 1_699_999_200_000
LATER = (
    "first_over_time", "mad_over_time", "ts_of_", "double_exponential", "fill", "limitk",
    "topk", "bottomk",  # of equal values either may be kept
    "stddev ", "stdvar ",  # of a single NaN or infinity Prometheus 2 says 0
)  # fmt: skip


def data() -> Table:
    """Three metrics over 20 minutes: counters with restarts, gauges with gaps and stale markers, a classic histogram."""
    draw = random.Random(4)
    series: list[Series] = []
    for name in ("m", "n"):
        for a, b in (("a", "x"), ("a", "y"), ("b", "x"), ("b", ""), ("c", "y"), ("", "")):
            labels = {k: v for k, v in (("__name__", name), ("a", a), ("b", b)) if v}
            interval = draw.choice([15_000, 30_000, 47_000, 60_000])
            total = float(draw.randrange(20))
            samples: dict[int, float | None] = {}
            for at in range(draw.randrange(interval), 1_200_000, interval):
                total = 0.0 if draw.random() < 0.05 else total + draw.randrange(9)
                value = (
                    total
                    if name == "m"
                    else draw.choice([0.0, 1.0, -2.0, 0.25, 7.5, 3.0, math.inf, math.nan])
                )
                if name == "m" or draw.random() < 0.8:
                    samples[BASE_MS + at // 1000 * 1000 + 237] = None if draw.random() < 0.04 else value
            series.append(Series(labels, samples))
    for bound in ("0.5", "1.0", "4", "+Inf"):
        each = Series({"__name__": "h_bucket", "le": bound, "a": "a"})
        for at in range(0, 1_200_000, 30_000):
            each.samples[BASE_MS + at + 237] = (len(series) - 10) * float(at // 10_000)
        series.append(each)
    return Fixed(series, [draw.randrange(3) for _ in series], ragged=True)


class Fixed(Table):
    """The same at every run, so that messages need not show it."""

    def __repr__(self) -> str:
        return "data()"


def write_request(table: Table) -> bytes:
    request = pb.WriteRequest()
    for series in table.series:
        entry = request.timeseries.add()
        for name, value in sorted(series.labels.items()):
            entry.labels.add(name=name.encode(), value=value.encode())
        for at, value in sorted(series.samples.items()):
            entry.samples.add(timestamp=at, value=STALE if value is None else value)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Table]]:
    """URL of a Prometheus that holds the data, and the data."""
    config = tmp_path_factory.mktemp("prometheus") / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    table = data()
    with running_prometheus(config, "--web.enable-remote-write-receiver") as url:
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        urlopen(Request(f"{url}/api/v1/write", write_request(table), headers), timeout=30).close()
        yield url, table


def ask(url: str, path: str, **params: Any) -> list[dict[str, Any]] | None:
    """The result; None when Prometheus refuses for reasons of the data."""
    try:
        with urlopen(f"{url}/api/v1/{path}", urlencode(params).encode(), timeout=30) as response:
            return json.load(response)["data"]["result"]
    except HTTPError as error:
        with error:
            answer = json.load(error)
        assert answer["errorType"] == "execution", answer
        return None


_FILTER = re.compile(r"(==|!=|<=|>=|<|>) (?!bool)")


def laxer(text: str, wanted: object, theirs: object) -> bool:
    """Whether Prometheus 2 answers what Prometheus 3 refuses: there, elements that a comparison drops match nothing."""
    return wanted is None and theirs is not None and _FILTER.search(text) is not None


def compare(got: list[Element] | None, want: list[Element] | None, about: object) -> None:
    assert (got is None) == (want is None), (about, got, want)
    if got is None or want is None:
        return
    found = {reference.key(labels): value for labels, value in got}
    wanted = {reference.key(labels): value for labels, value in want}
    assert found.keys() == wanted.keys(), (about, found, wanted)
    for labels, value in wanted.items():
        assert same(found[labels], value), (about, labels, found[labels], value)


@pytest.fixture
def old_extrapolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus 2 asks how far the first sample is from zero before it asks how far it is from the edge."""
    monkeypatch.setitem(range_reference.KERNELS, "rate", lambda s, e, w: _old(s, e, w, per_second=True))
    monkeypatch.setitem(range_reference.KERNELS, "increase", lambda s, e, w: _old(s, e, w, per_second=False))


def _old(samples: range_reference.Samples, end: int, width: int, *, per_second: bool) -> float | None:
    if len(samples) < 2:
        return None
    (first_ms, first), (last_ms, last) = samples[0], samples[-1]
    result = last - first
    for (_, before), (_, now) in itertools.pairwise(samples):
        if now < before:
            result += before
    to_start, to_end = (first_ms - (end - width)) / 1000, (end - last_ms) / 1000
    sampled = (last_ms - first_ms) / 1000
    average = sampled / (len(samples) - 1)
    if result > 0 and first >= 0:
        to_start = min(to_start, sampled * (first / result))
    covered = sampled
    for distance in (to_start, to_end):
        covered += distance if distance < average * 1.1 else average / 2
    factor = covered / sampled
    return result * (factor / (width / 1000) if per_second else factor)


def placed(text: str) -> str:
    """The expression with its fixed times within the data."""
    return text.replace(" @ 420", f" @ {BASE_MS // 1000 + 437}").replace(
        " @ 600", f" @ {BASE_MS // 1000 + 617}"
    )


expressions = vectors(3).filter(lambda text: not any(word in text for word in LATER)).map(placed)
fixed = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much,
    ],
)  # fmt: skip


@fixed
@given(expressions, st.integers(0, 26))
def test_instant_queries(
    prometheus: tuple[str, Table], old_extrapolation: None, text: str, minute: int
) -> None:
    url, table = prometheus
    time_ms = BASE_MS + minute * 60_000 + 17_000
    wanted = wanted_instant(table, text, time_ms)
    answer = ask(url, "query", query=text, time=time_ms / 1000)
    theirs = None if answer is None else [(row["metric"], float(row["value"][1])) for row in answer]
    if laxer(text, wanted, theirs):
        return
    compare(theirs, wanted, text)
    if "rate(" not in text and "increase(" not in text:
        compare(found_instant(table, text, time_ms), theirs, text)


@fixed
@given(expressions, st.sampled_from([60, 90]))
def test_range_queries(
    prometheus: tuple[str, Table], old_extrapolation: None, text: str, step_s: int
) -> None:
    url, table = prometheus
    # There, the window of a range function that looks at the step's time moves in spite of @.
    assume(not ("predict_linear" in text and "@" in text))
    times = list(range(BASE_MS + 137_000, BASE_MS + 1_400_000, step_s * 1000))
    wanted = wanted_range(table, text, times)
    answer = ask(url, "query_range", query=text, start=times[0] / 1000, end=times[-1] / 1000, step=step_s)
    if laxer(text, wanted, answer):
        return
    ours = None
    if "rate(" not in text and "increase(" not in text:
        ours = found_range(table, text, times)
        assert (ours is None) == (answer is None), text
    assert (answer is None) == (wanted is None), (text, answer, wanted)
    for step, at in enumerate(times):
        theirs = [
            (row["metric"], float(dict(row["values"])[at / 1000]))
            for row in answer or []
            if at / 1000 in dict(row["values"])
        ]
        if wanted is not None:
            compare(theirs, wanted[step], (text, at))
        if ours is not None:
            compare(ours[step], theirs, (text, at))
