"""What requests and answers of Alertmanager's API are made of: times, matchers, parameters, shapes that are checked."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request

from otero.alerting.matchers import parse_matcher
from otero.api.problem import WrongShape
from otero.errors import BadInput
from otero.model.matchers import Matcher, MatchOp, compile_anchored

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?",
    re.ASCII,
)
_TRUE = frozenset({"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"})


def read_time(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time; 0 for a time before it, such as Go's zero. Raises ValueError."""
    if not text:
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text[:60]}" is not a time; write it as 2006-01-02T15:04:05Z')
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    if int(year) < 1970:
        return 0
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a time: {error}') from None
    offset_s = int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60) if sign else 0
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - offset_s
    return max(0, seconds * 1000 + int(float(fraction or 0) * 1000))


def decode(body: bytes, type_: type[T], what: str) -> T | None:
    """The request's body as `type_`, or None for `null`. Raises WrongShape."""
    if not body.strip():
        raise WrongShape(f"{what} in body is required")
    try:
        return msgspec.json.decode(body, type=cast(type[T], type_ | None))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WrongShape(f"parsing {what} body failed, because {error}", status=400, code=400) from None


def require_json(request: Request) -> None:
    """Raises WrongShape for a body of another content type: it may come from a page in a browser."""
    given = request.headers.get("content-type", "application/octet-stream")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise WrongShape(
            f'unsupported media type "{given[:80]}", only [application/json] are allowed',
            status=415,
            code=415,
        )


def flag(request: Request, name: str, default: bool = True) -> bool:
    """A parameter that is true or false; what is not known for true is false."""
    given = request.query_params.get(name)
    return default if given is None else given.lower() in _TRUE


def filters(request: Request) -> Sequence[Matcher]:
    """The matchers of `filter`, which may be given several times. Raises BadInput."""
    found: list[Matcher] = []
    for text in request.query_params.getlist("filter"):
        found += parse_matcher(text).matchers
    return found


def receiver_filter(request: Request) -> Any:
    """The pattern that a receiver's whole name must match, or None. Raises BadInput."""
    given = request.query_params.get("receiver")
    if given is None:
        return None
    try:
        return compile_anchored(given)
    except BadInput as error:
        raise BadInput(f"failed to parse receiver param: {error}") from None


def matcher_json(matcher: Matcher) -> Mapping[str, Any]:
    """`{"isEqual":true,"isRegex":false,"name":"a","value":"b"}`"""
    return {
        "isEqual": matcher.op in (MatchOp.EQUAL, MatchOp.REGEX),
        "isRegex": matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX),
        "name": matcher.name,
        "value": matcher.value,
    }
