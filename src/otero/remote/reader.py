"""Remote read from other servers: queries see their series beside the local ones.

The rules are Prometheus': an endpoint is asked when the selector has all its `required_matchers` and, without `read_recent`,
only for times before the oldest local sample (or soon after it); external labels are asked for and taken off the answer. An
endpoint that fails is a warning of the answer, not a failure. Where several have a sample of a series and time, the local one
counts, else that of the endpoint that stands first.

Protocol: https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
"""

import asyncio
import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Protocol

import cramjam
import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput, Cancelled, LimitExceeded, OteroError, TimedOut, Unavailable
from otero.http_client import Hosts, HttpClient
from otero.model.budget import Budget
from otero.model.labels import LabelBytes, LabelTable, decode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.samples import SampleBlock
from otero.remote.config import RemoteReadConfig
from otero.remote.merge import Answer, merge
from otero.wire.remote_read import ReadQuery, decode_response, encode_request
from otero.wire.remote_write_v1 import WriteV1Decoder

_MAX_ANSWER = 512 << 20
"""Bytes of an answer, compressed and uncompressed."""
_MARGIN_MS = 4 * 3_600_000
"""For so long after the oldest local sample, local storage is not trusted to have everything: Prometheus' two blocks."""
_CHECK_S = 0.05
"""How often a query that waits for answers looks whether it should stop."""


class Local(Protocol):
    """What is used of `storage.metrics.MetricStore`."""

    def oldest_ms(self) -> int | None: ...

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]: ...


class RemoteReader:
    """Local storage and remote endpoints as one source of samples for the query engine.

    `apply` and `stop` belong to the event loop that makes the requests, `select` to any other thread.
    """

    def __init__(self, local: Local, hosts: Hosts | None = None) -> None:
        self._local = local
        self._hosts = hosts
        self._endpoints: tuple[Endpoint, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def apply(self, configs: Sequence[RemoteReadConfig], external_labels: Mapping[str, str]) -> None:
        """Ask these endpoints from now on. Those that stay as they are keep their connections; requests to the others
        fail."""
        self._loop = asyncio.get_running_loop()
        before = list(self._endpoints)
        after: list[Endpoint] = []
        for config in configs:
            kept = next((endpoint for endpoint in before if endpoint.made_of(config, external_labels)), None)
            if kept is not None:
                before.remove(kept)
            after.append(kept or Endpoint(config, external_labels, self._hosts))
        self._endpoints = tuple(after)
        for endpoint in before:
            await endpoint.close()

    async def stop(self) -> None:
        """Close all connections; queries see local samples only."""
        await self.apply((), {})

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> list[SampleBlock]:
        """As `MetricStore.select`, with what the endpoints have; their failures are warnings of the budget."""
        endpoints, loop = self._endpoints, self._loop
        if not endpoints or loop is None:
            return self._local.select(matchers, start_ms, end_ms, budget)
        some_until = not all(endpoint.config.read_recent for endpoint in endpoints)
        oldest_ms = self._local.oldest_ms() if some_until else None
        asked: list[tuple[Endpoint, concurrent.futures.Future[bytes]]] = []
        try:
            for endpoint in endpoints:
                query = endpoint.query(matchers, start_ms, end_ms, oldest_ms)
                if query is not None:
                    work = endpoint.ask(query, budget.remaining_s())
                    asked.append((endpoint, asyncio.run_coroutine_threadsafe(work, loop)))
            blocks = self._local.select(matchers, start_ms, end_ms, budget)
            answers: list[Answer] = []
            for endpoint, future in asked:
                try:
                    answer, refused = endpoint.answer(_wait(future, budget), matchers)
                except _Stopped as stop:
                    raise stop.error from None
                except OteroError as error:
                    budget.check()
                    budget.warn(f"remote_read: {endpoint.told(error)}")
                    continue
                if refused:
                    budget.warn(f"remote_read: {endpoint.told(refused)}")
                budget.charge(len(answer.series))
                answers.append(answer)
        finally:
            for _, future in asked:
                future.cancel()
        return merge(blocks, answers)


class Endpoint:
    """One remote endpoint."""

    def __init__(
        self, config: RemoteReadConfig, external_labels: Mapping[str, str], hosts: Hosts | None
    ) -> None:
        self.config = config
        self._given = dict(external_labels)
        self._external = {n: v for n, v in external_labels.items() if v and config.filter_external_labels}
        self._required = set(config.required_matchers.items())
        self._client = HttpClient(config.http_client(), hosts)
        self._closed = False

    def made_of(self, config: RemoteReadConfig, external_labels: Mapping[str, str]) -> bool:
        """Whether an endpoint of this configuration would be the same."""
        return self.config == config and self._given == dict(external_labels)

    def query(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, oldest_ms: int | None
    ) -> ReadQuery | None:
        """What to ask for; None for nothing. `oldest_ms` is the time of the oldest local sample."""
        if self._required - {(m.name, m.value) for m in matchers if m.op is MatchOp.EQUAL}:
            return None
        if not self.config.read_recent and oldest_ms is not None:
            if start_ms > oldest_ms + _MARGIN_MS:
                return None
            end_ms = min(end_ms, oldest_ms + _MARGIN_MS)
        added = [Matcher(name, MatchOp.EQUAL, self._external[name]) for name in self._added(matchers)]
        return ReadQuery((*matchers, *added), start_ms, end_ms)

    def _added(self, matchers: Sequence[Matcher]) -> list[str]:
        """The external labels that the matchers do not speak of."""
        named = {matcher.name for matcher in matchers}
        return [name for name in self._external if name not in named]

    async def ask(self, query: ReadQuery, timeout_s: float) -> bytes:
        """The body of the answer, compressed. Raises OteroError."""
        if self._closed:
            raise Unavailable("the endpoint was taken out of the configuration meanwhile")
        response = await self._client.request(
            "POST",
            self.config.url,
            headers={
                "User-Agent": "Otero/remote-read",
                **self.config.headers,
                "Content-Encoding": "snappy",
                "Content-Type": "application/x-protobuf",
                "Accept-Encoding": "snappy",
                "X-Prometheus-Remote-Read-Version": "0.1.0",
            },
            body=bytes(cramjam.snappy.compress_raw(encode_request(query))),
            timeout_s=max(min(self.config.remote_timeout / 1000, timeout_s), 0.001),
            max_bytes=_MAX_ANSWER,
            raw_encoding="snappy",
        )
        if response.status // 100 != 2:
            text = response.body[:300].decode("utf-8", "replace").strip()
            raise Unavailable(f"remote server returned HTTP status {response.status}: {text}")
        if response.content_type.startswith("application/x-streamed-protobuf"):
            raise BadInput("the answer is in streamed chunks, which were not asked for")
        return response.body

    def answer(self, body: bytes, matchers: Sequence[Matcher]) -> tuple[Answer, str]:
        """The samples of an answer, without the external labels that were added to the query; and what was refused of it.
        Raises BadInput."""
        results = decode_response(_uncompressed(body))
        if len(results) != 1:
            raise BadInput(f"the answer has {len(results)} results for 1 query")
        added = self._added(matchers)
        rows: list[dict[str, str]] = []

        def resolve(keys: Sequence[LabelBytes]) -> NDArray[np.int64]:
            for key in keys:
                labels = decode_labels(key)
                rows.append({n: v for n, v in labels.items() if n not in added} if added else labels)
            return np.arange(len(rows) - len(keys), len(rows))

        columns = WriteV1Decoder(resolve).decode(results[0])
        refused = [
            f"{count} samples of the answer are left out: {columns.refusals.texts[reason]}"
            for reason, count in columns.refusals.counts.items()
        ]
        return Answer(
            LabelTable.of(rows),
            columns.refs.astype(np.intp),
            columns.times_ms,
            columns.values,
            columns.start_ms,
            columns.histograms,
        ), "; ".join(refused)

    def told(self, error: object) -> str:
        """What went wrong, with the endpoint's name and without its password."""
        url = self.config.url
        return f"{self.config.name or url.redacted()}: {str(error).replace(url, url.redacted())}"

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._client.close()


class _Stopped(Exception):
    """The query ends here, not only the request."""

    def __init__(self, error: OteroError) -> None:
        self.error = error


def _wait(future: "concurrent.futures.Future[bytes]", budget: Budget) -> bytes:
    while not concurrent.futures.wait([future], _CHECK_S).done:
        try:
            budget.check()
        except (Cancelled, TimedOut) as error:
            raise _Stopped(error) from None
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise Unavailable("the request was given up: the server stops") from None


def _uncompressed(body: bytes) -> bytes:
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > _MAX_ANSWER:
            raise LimitExceeded(f"the answer takes {size} bytes uncompressed, at most {_MAX_ANSWER} are read")
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadInput(f"the answer is not in snappy's block format: {error}") from None
