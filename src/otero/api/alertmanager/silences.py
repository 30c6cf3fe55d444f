"""Silences: `/api/v2/silences` and `/api/v2/silence/{id}`."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from otero.alerting.silences import Silences
from otero.api.alertmanager.json_values import (
    decode,
    filters,
    matcher_json,
    read_time,
    require_json,
)
from otero.api.body import read_body
from otero.api.problem import WrongShape
from otero.clock import Clock
from otero.errors import BadInput, NotFound
from otero.fields import valid_label_name
from otero.model.matchers import Matcher, MatchOp
from otero.model.silences import Silence, SilenceState
from otero.model.times import rfc3339_ms

MAX_BODY = 1 << 20
_OPS = {
    (True, False): MatchOp.EQUAL,
    (False, False): MatchOp.NOT_EQUAL,
    (True, True): MatchOp.REGEX,
    (False, True): MatchOp.NOT_REGEX,
}


class _PostedMatcher(msgspec.Struct, frozen=True):
    name: str | None = None
    value: str | None = None
    is_regex: bool | None = msgspec.field(default=None, name="isRegex")
    is_equal: bool | None = msgspec.field(default=None, name="isEqual")


class _PostedSilence(msgspec.Struct, frozen=True):
    """A silence as a client asks for it; with an id it changes one."""

    id: str | None = None
    comment: str | None = None
    created_by: str | None = msgspec.field(default=None, name="createdBy")
    ends_at: str | None = msgspec.field(default=None, name="endsAt")
    matchers: list[_PostedMatcher] | None = None
    starts_at: str | None = msgspec.field(default=None, name="startsAt")


class SilenceRoutes:
    """Handlers. Rules, statuses and JSON are those of Alertmanager's API v2."""

    def __init__(self, silences: Silences, clock: Clock) -> None:
        self._silences = silences
        self._clock = clock

    async def list(self, request: Request) -> Response:
        """Active ones, the first to end first; pending ones, the first to start first; then those that ended last."""
        wanted = filters(request)
        now_ms = self._clock.now_ms()
        found = [
            silence
            for silence in self._silences.list()
            if all(matcher in silence.matchers for matcher in wanted)
        ]
        found.sort(key=lambda silence: _order(silence, now_ms))
        return _answer([_silence_json(silence, now_ms) for silence in found])

    async def post(self, request: Request) -> Response:
        """Makes a silence or changes one; answers the id under which it is from now on."""
        require_json(request)
        posted = decode(await read_body(request, MAX_BODY), _PostedSilence, "silence")
        silence = _silence(posted or _PostedSilence())
        if silence.starts_ms >= silence.ends_ms:
            raise BadInput("Failed to create silence: start time must be before end time")
        if silence.ends_ms < self._clock.now_ms():
            raise BadInput("Failed to create silence: end time can't be in the past")
        id_ = await asyncio.to_thread(self._silences.create, silence)
        return _answer({"silenceID": id_})

    async def get(self, request: Request) -> Response:
        """One silence."""
        id_ = _id(request)
        try:
            return _answer(_silence_json(self._silences.get(id_), self._clock.now_ms()))
        except NotFound:
            return Response(status_code=404)

    async def delete(self, request: Request) -> Response:
        """Ends a silence; one that has ended stays."""
        id_ = _id(request)
        try:
            await asyncio.to_thread(self._silences.expire, id_)
        except NotFound:
            return Response(status_code=404)
        return Response()


def _id(request: Request) -> str:
    text: str = request.path_params["id"]
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise WrongShape(f'silenceID in path must be of type uuid: "{text[:80]}"', code=601) from None


def _silence(posted: _PostedSilence) -> Silence:
    if posted.comment is None:
        raise WrongShape("comment in body is required")
    if posted.created_by is None:
        raise WrongShape("createdBy in body is required")
    if posted.ends_at is None:
        raise WrongShape("endsAt in body is required")
    if posted.matchers is None:
        raise WrongShape("matchers in body is required")
    if not posted.matchers:
        raise WrongShape("matchers in body should have at least 1 items", code=612)
    matchers = tuple(_matcher(matcher, index) for index, matcher in enumerate(posted.matchers))
    if posted.starts_at is None:
        raise WrongShape("startsAt in body is required")
    try:
        starts_ms, ends_ms = read_time(posted.starts_at), read_time(posted.ends_at)
    except ValueError as error:
        raise WrongShape(f"parsing silence body failed, because {error}", status=400, code=400) from None
    return Silence(
        matchers=matchers,
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        created_by=posted.created_by,
        comment=posted.comment,
        id=posted.id or "",
    )


def _matcher(posted: _PostedMatcher, index: int) -> Matcher:
    if posted.is_regex is None:
        raise WrongShape(f"matchers.{index}.isRegex in body is required")
    if posted.name is None:
        raise WrongShape(f"matchers.{index}.name in body is required")
    if posted.value is None:
        raise WrongShape(f"matchers.{index}.value in body is required")
    if not valid_label_name(posted.name):
        raise BadInput(f'invalid silence: invalid label matcher {index}: invalid label name "{posted.name}"')
    try:
        return Matcher(posted.name, _OPS[posted.is_equal is not False, posted.is_regex], posted.value)
    except BadInput as error:
        raise BadInput(f"invalid silence: invalid label matcher {index}: {error}") from None


def _order(silence: Silence, now_ms: int) -> tuple[int, int]:
    match silence.state(now_ms):
        case SilenceState.ACTIVE:
            return 1, silence.ends_ms
        case SilenceState.PENDING:
            return 2, silence.starts_ms
        case SilenceState.EXPIRED:
            return 3, -silence.ends_ms


def _silence_json(silence: Silence, now_ms: int) -> Mapping[str, Any]:
    return {
        "id": silence.id,
        "status": {"state": silence.state(now_ms).value},
        "updatedAt": rfc3339_ms(silence.updated_ms),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": rfc3339_ms(silence.ends_ms),
        "matchers": [matcher_json(matcher) for matcher in silence.matchers],
        "startsAt": rfc3339_ms(silence.starts_ms),
    }


def _answer(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers={"cache-control": "no-store"})
