"""Parameters of Prometheus' HTTP API: from the query string, a posted form, or both together."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from otero.errors import BadField, BadInput, Cancelled, LimitExceeded
from otero.fields import Duration

MAX_FORM_BYTES = 4 << 20
MAX_FIELDS = 10_000
MIN_TIME_MS = -(1 << 62)
MAX_TIME_MS = (1 << 62) - 1

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Params:
    """The values of one request by name; a form's come before the query string's, as Go's net/http merges them."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @staticmethod
    async def of(request: Request) -> "Params":
        """Read the query string and, of a POST, the form. Raises LimitExceeded for an oversized form."""
        try:
            pairs: list[tuple[str, str]] = []
            if request.method == "POST":
                form = request.headers.get("content-type", "").split(";")[0].strip().lower()
                if form in ("application/x-www-form-urlencoded", ""):
                    pairs += _parse(await _body(request))
            pairs += _parse(request.scope["query_string"])
        except ValueError:
            raise BadInput(f"cannot read the parameters: more than {MAX_FIELDS:,} of them") from None
        return Params(pairs)

    def text(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return self._values.get(name, [default])[0]

    def texts(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return self._values.get(name, [])

    def time_ms(self, name: str, default_ms: int | None = None) -> int:
        """A time, as Unix seconds or RFC 3339; required when there is no default."""
        text = self.text(name)
        if not text and default_ms is not None:
            return default_ms
        try:
            return parse_time_ms(text)
        except BadInput as error:
            raise BadInput(f'invalid parameter "{name}": {error}') from None

    def duration_ms(self, name: str, default_ms: int | None = None) -> int:
        """A duration, as seconds or in Prometheus' syntax; required when there is no default."""
        text = self.text(name)
        if not text and default_ms is not None:
            return default_ms
        try:
            return parse_step_ms(text)
        except BadInput as error:
            raise BadInput(f'invalid parameter "{name}": {error}') from None

    def count(self, name: str) -> int:
        """A non-negative whole number; 0 when it is not given."""
        text = self.text(name)
        if not text:
            return 0
        if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
            raise BadInput(f'invalid parameter "{name}": cannot parse "{text}" as a whole number')
        value = int(text)
        if value < 0:
            raise BadInput(f'invalid parameter "{name}": {name} must be non-negative')
        return value


def _parse(data: bytes) -> list[tuple[str, str]]:
    return parse_qsl(
        data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace"
    )


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_FORM_BYTES:
                raise LimitExceeded(f"the posted form is larger than {MAX_FORM_BYTES:,} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise Cancelled("the client went away while sending its form") from None
    return b"".join(parts)


def parse_time_ms(text: str) -> int:
    """Unix seconds with decimals, or RFC 3339, as milliseconds since the epoch."""
    if _FLOAT.fullmatch(text):
        seconds = float(text)
        if math.isfinite(seconds) and abs(seconds) < MAX_TIME_MS / 1000:
            whole = math.floor(seconds)
            return whole * 1000 + round((seconds - whole) * 1000)
    elif _RFC3339.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text.upper())
        except ValueError:
            pass
        else:
            return math.floor((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 + 0.5)
    raise BadInput(f'cannot parse "{text}" to a valid timestamp')


def parse_step_ms(text: str) -> int:
    """Seconds with decimals, or a duration such as 1h30m, in milliseconds."""
    if _FLOAT.fullmatch(text):
        milliseconds = float(text) * 1000
        if not math.isfinite(milliseconds) or abs(milliseconds) > MAX_TIME_MS:
            raise BadInput(f'cannot parse "{text}" to a valid duration. It overflows int64')
        return int(milliseconds)
    try:
        return int(Duration.parse(text))
    except BadField:
        raise BadInput(f'cannot parse "{text}" to a valid duration') from None
