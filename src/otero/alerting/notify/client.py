"""The HTTP client of receivers: one session for each distinct `http_config`, answers of bounded size, no secret told.

An answer other than 2xx is a DeliveryError here; which of those may succeed later is the receiver's to say
(Alertmanager's notify.Retrier: 5xx always, others where the service means "not so fast" by them).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from urllib.parse import urlsplit

from otero.alerting.notification import DeliveryError
from otero.clock import Clock, SystemClock
from otero.errors import LimitExceeded, TimedOut, Unavailable
from otero.http_client import Hosts, HttpClient, HttpClientConfig, HttpResponse

MAX_ANSWER = 1 << 20
"""Bytes of an answer that are read; the rest is not waited for."""

MAX_WAIT_S = 300.0
"""How long an answer is waited for where the receiver has no timeout: as long as the default `group_interval`, which
is what Alertmanager gives a notification."""

_MAX_EXCERPT = 512
_MIN_SECRET = 4
_MAX_REMEMBERED = 10_000

TOO_MANY_REQUESTS = 429


class Client:
    """What receivers send with. For use inside one event loop; `close` it when the configuration that it served goes.

    `hosts` leads names elsewhere, as otero.yml says; `clock` is what requests are signed and tokens are kept by;
    `memory` may be that of an earlier client, so that a reload forgets nothing.
    """

    def __init__(
        self, hosts: Hosts | None = None, clock: Clock | None = None, memory: "Memory | None" = None
    ) -> None:
        self.hosts = hosts or Hosts()
        self.clock = clock or SystemClock()
        self.memory = memory or Memory()
        self._known: dict[int, tuple[HttpClientConfig, HttpClient]] = {}

    async def post(
        self,
        http: HttpClientConfig,
        url: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 0,
        retry_on: Collection[int] = (),
        details: Callable[[HttpResponse], str] | None = None,
        pause_s: Callable[[HttpResponse], float | None] | None = None,
        secrets: Sequence[str] = (),
    ) -> HttpResponse:
        """`request` with a body."""
        return await self.request(
            http,
            "POST",
            url,
            body=body,
            headers={"Content-Type": content_type, **(headers or {})},
            timeout_s=timeout_s,
            retry_on=retry_on,
            details=details,
            pause_s=pause_s,
            secrets=secrets,
        )

    async def request(
        self,
        http: HttpClientConfig,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 0,
        retry_on: Collection[int] = (),
        details: Callable[[HttpResponse], str] | None = None,
        pause_s: Callable[[HttpResponse], float | None] | None = None,
        secrets: Sequence[str] = (),
    ) -> HttpResponse:
        """The answer, when it is a 2xx.

        `retry_on` are the codes besides 5xx after which the same request may succeed; `details` finds what an error
        answer says (its beginning, by default), `pause_s` how long it asks to wait (its `Retry-After`); `secrets` are hidden in that, as are the path of the URL and what
        `http` authenticates with. `timeout_s` of 0 is MAX_WAIT_S. Raises DeliveryError.
        """
        place = _place(url)
        try:
            response = await self._client(http).request(
                method,
                url,
                headers=headers,
                body=body,
                timeout_s=timeout_s or MAX_WAIT_S,
                max_bytes=MAX_ANSWER,
                cut=True,
                what=f"{method} {place}",
            )
        except (TimedOut, Unavailable, LimitExceeded) as error:
            raise DeliveryError(_hide(str(error), url, http, secrets), retry=True) from None
        if 200 <= response.status < 300:
            return response
        found = _hide((details or excerpt)(response), url, http, secrets)
        raise DeliveryError(
            f"{method} {place}: answered {response.status} {response.reason}".rstrip()
            + (f": {found}" if found else ""),
            retry=response.status >= 500 or response.status in retry_on,
            status=response.status,
            retry_after_s=pause_s(response) if pause_s else response.retry_after_s(self.clock.now_ms()),
        )

    async def close(self) -> None:
        """Close all connections; requests that are under way fail."""
        known, self._known = self._known, {}
        for _, client in known.values():
            await client.close()

    def _client(self, http: HttpClientConfig) -> HttpClient:
        # Receivers without an http_config share the object of `global`; equal ones from elsewhere share its session.
        found = self._known.get(id(http))
        if found is None:
            equal = next((client for config, client in self._known.values() if config == http), None)
            found = self._known[id(http)] = (http, equal or HttpClient(http, self.hosts))
        return found[1]


class Memory:
    """What a receiver must know of its earlier requests: a token it was given, the message that it may change.

    Bounded; what was not used for longest is forgotten, which costs another token or another message.
    """

    def __init__(self, limit: int = _MAX_REMEMBERED) -> None:
        self._limit = limit
        self._values: dict[tuple[str, ...], tuple[str, ...]] = {}

    def get(self, *key: str) -> tuple[str, ...] | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def set(self, key: tuple[str, ...], value: tuple[str, ...]) -> None:
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._limit:
            del self._values[next(iter(self._values))]

    def forget(self, *key: str) -> None:
        self._values.pop(key, None)


def excerpt(response: HttpResponse) -> str:
    """The beginning of an answer on one line, fit for an error message."""
    text = " ".join(response.body[: 4 * _MAX_EXCERPT].decode("utf-8", "replace").split())
    text = "".join(char for char in text if char.isprintable())
    return text if len(text) <= _MAX_EXCERPT else text[:_MAX_EXCERPT] + "…"


def _place(url: str) -> str:
    """Scheme, host and port: all of a URL that is told, for the rest may be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise DeliveryError("the URL to send to is not an absolute http or https URL", retry=False)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _hide(text: str, url: str, http: HttpClientConfig, secrets: Sequence[str]) -> str:
    parts = urlsplit(url)
    hidden = [*secrets, url, parts.path, parts.query, parts.password or ""]
    if http.basic_auth is not None:
        hidden.append(http.basic_auth.password.reveal())
    if http.authorization is not None:
        hidden.append(http.authorization.credentials.reveal())
    for header in http.http_headers.values():
        hidden += [secret.reveal() for secret in header.secrets]
    for secret in sorted(hidden, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "<secret>")
    return text
