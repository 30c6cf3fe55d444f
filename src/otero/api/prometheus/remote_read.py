"""`POST /api/v1/read`: samples for other servers, by Prometheus' remote read. Answers are samples, never streamed chunks.

As Prometheus does, a matcher that asks for an external label of this server's own value asks for a series without that
label, and the answer's series carry the external labels.
"""

from collections.abc import Mapping

import cramjam
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from otero.api.context import ApiContext
from otero.errors import BadInput, Cancelled
from otero.model.budget import Budget
from otero.model.matchers import Matcher, MatchOp
from otero.wire.remote_read import ReadQuery, decode_request, encode_response, encode_result

_MAX_REQUEST = 4 << 20


class RemoteReadRoutes:
    """Serves `/api/v1/read`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def read(self, request: Request) -> Response:
        encoding = request.headers.get("content-encoding", "snappy")
        if encoding != "snappy":
            return PlainTextResponse(f"Content-Encoding {encoding!r} is not taken; send snappy\n", 415)
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > _MAX_REQUEST:
                    return PlainTextResponse(f"the body takes more than {_MAX_REQUEST} bytes\n", 413)
        except ClientDisconnect:
            raise Cancelled("the client hung up while sending") from None
        queries = decode_request(_uncompressed(bytes(body)))
        budget = self._context.queries.budget()
        answer = await self._context.queries.run(
            "remote read", request, budget, lambda: self._answer(queries, budget)
        )
        return Response(answer, headers={"Content-Encoding": "snappy"}, media_type="application/x-protobuf")

    def _answer(self, queries: list[ReadQuery], budget: Budget) -> bytes:
        external = dict(self._context.lifecycle.settings.external_labels)
        results: list[bytes] = []
        for query in queries:
            matchers = [_without_external(matcher, external) for matcher in query.matchers]
            blocks = self._context.store.select(matchers, query.start_ms, query.end_ms, budget)
            results.append(encode_result(blocks, query.start_ms, query.end_ms, external))
            budget.check()
        return bytes(cramjam.snappy.compress_raw(encode_response(results)))


def _without_external(matcher: Matcher, external: Mapping[str, str]) -> Matcher:
    if matcher.op is MatchOp.EQUAL and matcher.value and external.get(matcher.name) == matcher.value:
        return Matcher(matcher.name, MatchOp.EQUAL, "")
    return matcher


def _uncompressed(body: bytes) -> bytes:
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > _MAX_REQUEST:
            raise BadInput(f"the request takes {size} bytes uncompressed, at most {_MAX_REQUEST} are taken")
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadInput(f"the body is not in snappy's block format: {error}") from None
