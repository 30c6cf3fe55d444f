"""The Pushgateway's HTTP API: `/metrics/job/…` on the main port, all of it on a port of its own."""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from otero.api.body import read_body
from otero.api.problem import plain_problem
from otero.errors import BadInput, LimitExceeded
from otero.ingest.receivers.push_groups import GroupKey, PushGroup, grouping_key
from otero.ingest.receivers.pushgateway import Pushgateway
from otero.telemetry import rejected
from otero.wire.exposition_protocol import Protocol, parse_content_type
from otero.wire.go_floats import format_float
from otero.wire.metric_families import GAUGE_HISTOGRAM, HISTOGRAM, SUMMARY, TYPES, simple_value, write_text
from otero.wire.pb.exposition_pb2 import Metric, MetricFamily

PATH = "/metrics/{rest:path}"
METHODS = ["PUT", "POST", "DELETE"]
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_BASE64 = "@base64"


def push_problem(error: Exception) -> Response:
    """As `plain_problem`, but what is too much is 413."""
    if isinstance(error, LimitExceeded):
        return PlainTextResponse(f"{error}\n", 413)
    return plain_problem(error)


class PushRoutes:
    """Handlers. Statuses are the Pushgateway's: 200 for a push, 202 for a deletion, 400 for what does not fit."""

    def __init__(self, gateway: Pushgateway) -> None:
        self._gateway = gateway

    async def change(self, request: Request) -> Response:
        """PUT replaces a group, POST merges into it, DELETE drops it."""
        key = key_of_path(request.path_params["rest"])
        if request.method == "DELETE":
            await asyncio.to_thread(self._gateway.delete, key)
            return Response(status_code=202)
        try:
            body = await read_body(request, self._gateway.settings.max_body_size)
            protobuf = _is_protobuf(request.headers.get("content-type"))
            await asyncio.to_thread(
                self._gateway.push, key, body, protobuf=protobuf, replace=request.method == "PUT"
            )
        except BadInput:
            rejected("pushgateway", "bad_push")
            raise
        return Response()

    async def metrics(self, request: Request) -> Response:
        """Everything that is pushed, as a Pushgateway shows it to a scraper."""
        if "application/vnd.google.protobuf" in request.headers.get("accept", ""):
            body = await asyncio.to_thread(lambda: b"".join(map(_delimited, _merged(self._gateway.groups()))))
            return Response(body, media_type=_PROTOBUF)
        text = await asyncio.to_thread(lambda: write_text(_merged(self._gateway.groups())))
        return Response(text, headers={"content-type": _TEXT})

    async def api_metrics(self, _request: Request) -> Response:
        """The groups as JSON: each with its labels, outcome of the last push, and families."""
        data = await asyncio.to_thread(lambda: [_group_json(group) for group in self._gateway.groups()])
        return Response(orjson.dumps({"status": "success", "data": data}), media_type="application/json")

    async def ok(self, _request: Request) -> Response:
        return PlainTextResponse("OK")


_PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


def key_of_path(rest: str) -> GroupKey:
    """The grouping labels of what follows `/metrics/`: `job/NAME{/LABEL/VALUE}`, each name perhaps with `@base64`."""
    parts = rest.split("/")
    if len(parts) == 3 and not parts[2]:
        del parts[2]  # the one place where a slash at the end is taken
    if len(parts) % 2 or parts[0].removesuffix(_BASE64) != "job":
        raise BadInput(
            f"cannot read /metrics/{rest}: expected /metrics/job/NAME{{/LABEL/VALUE}}; values with / in them, or empty"
            " ones, go as LABEL@base64/VALUE in URL-safe base64, empty as ="
        )
    labels = [_pair(name, value) for name, value in zip(parts[::2], parts[1::2], strict=True)]
    return grouping_key(labels[0][1], labels[1:])


def _pair(name: str, value: str) -> tuple[str, str]:
    if not name.endswith(_BASE64):
        return name, value
    name = name.removesuffix(_BASE64)
    bare = value.rstrip("=")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
        return name, decoded.decode()
    except (binascii.Error, ValueError):
        raise BadInput(f"the value of {name}@base64 is not URL-safe base64 of UTF-8: {value!r}") from None


def _is_protobuf(content_type: str | None) -> bool:
    # Whatever else it is called, a push is text, as for the Pushgateway: curl says application/x-www-form-urlencoded.
    return parse_content_type(content_type, Protocol.TEXT_0_0_4) is Protocol.PROTOBUF


def _merged(groups: Sequence[PushGroup]) -> list[MetricFamily]:
    """The families of all groups, each name once, sorted; the help of the last group that says one."""
    merged: dict[str, MetricFamily] = {}
    for group in groups:
        for name, family in group.families.items():
            into = merged.get(name)
            if into is None:
                into = merged[name] = MetricFamily(name=name, type=family.message.type)
            into.help = family.message.help or into.help
            into.metric.extend(family.message.metric)
    return [merged[name] for name in sorted(merged)]


def _delimited(family: MetricFamily) -> bytes:
    message = family.SerializeToString()
    size, length = len(message), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes((*length, size)) + message


def _group_json(group: PushGroup) -> Mapping[str, Any]:
    return {
        "labels": dict(group.key),
        "last_push_successful": group.last_push_successful,
    } | {
        name: {
            "time_stamp": _rfc3339(family.pushed_ns),
            "type": TYPES[family.message.type].upper(),
            **({"help": family.message.help} if family.message.help else {}),
            "metrics": list(_metrics_json(family.message)),
        }
        for name, family in group.families.items()
    }


def _metrics_json(family: MetricFamily) -> Iterator[Mapping[str, Any]]:
    for metric in family.metric:
        labels = {pair.name: pair.value for pair in metric.label}
        if family.type == SUMMARY:
            yield {"labels": labels, **_summary_json(metric)}
        elif family.type in (HISTOGRAM, GAUGE_HISTOGRAM):
            yield {"labels": labels, **_histogram_json(metric)}
        else:
            yield {"labels": labels, "value": format_float(simple_value(family.type, metric))}


def _summary_json(metric: Metric) -> Mapping[str, Any]:
    summary = metric.summary
    quantiles = {format_float(each.quantile): format_float(each.value) for each in summary.quantile}
    return {
        "count": str(summary.sample_count),
        "sum": format_float(summary.sample_sum),
        "quantiles": quantiles,
    }


def _histogram_json(metric: Metric) -> Mapping[str, Any]:
    histogram = metric.histogram
    buckets = {
        format_float(bucket.upper_bound): format_float(bucket.cumulative_count_float)
        if bucket.cumulative_count_float
        else str(bucket.cumulative_count)
        for bucket in histogram.bucket
    }
    count = (
        format_float(histogram.sample_count_float)
        if histogram.sample_count_float
        else str(histogram.sample_count)
    )
    return {"count": count, "sum": format_float(histogram.sample_sum), "buckets": buckets}


def _rfc3339(time_ns: int) -> str:
    whole = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{time_ns % 1_000_000_000:09d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
