"""The client of receivers."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from otero.alerting.notification import DeliveryError
from otero.alerting.notify.client import MAX_ANSWER, Client, Memory
from otero.fields import FilePath, Secret
from otero.http_client import BasicAuth, Hosts, HttpClientConfig, HttpHeader
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import Answer, Sink, running


async def test_names_lead_where_otero_yml_says(receivers: Receivers) -> None:
    client = Client(Hosts({"hooks.example": receivers.sink.url.removeprefix("http://")}))
    await client.post(HttpClientConfig(), "http://hooks.example/a", b"{}")
    await client.close()
    assert receivers.sink.last.headers["Host"] == "hooks.example"


async def test_connections_are_kept_for_all_receivers_with_equal_settings(receivers: Receivers) -> None:
    for _ in range(3):
        await receivers.client.post(HttpClientConfig(), receivers.sink.url, b"{}")
    other = HttpClientConfig(basic_auth=BasicAuth(username="u", password=Secret("p")))
    await receivers.client.post(other, receivers.sink.url, b"{}")
    sessions = {id(client) for _, client in receivers.client._known.values()}  # pyright: ignore[reportPrivateUsage]
    assert len(sessions) == 2
    assert receivers.sink.last.headers["Authorization"] == "Basic dTpw"


async def test_headers_of_the_configuration(receivers: Receivers, tmp_path: Path) -> None:
    (tmp_path / "tenant").write_text("from a file\n")
    http = HttpClientConfig(
        http_headers={"X-Tenant": HttpHeader(values=["a"], files=[FilePath(tmp_path / "tenant")])}
    )
    await receivers.client.post(http, receivers.sink.url, b"{}")
    assert receivers.sink.last.headers.getall("X-Tenant") == ["a", "from a file"]


async def test_a_server_that_hangs(receivers: Receivers) -> None:
    free = asyncio.Event()

    class Hanging(Sink):
        async def handle(self, request: web.Request) -> web.Response:
            await free.wait()
            return await super().handle(request)

    async with running(Hanging()) as sink:
        with pytest.raises(DeliveryError) as caught:
            await receivers.client.post(HttpClientConfig(), f"{sink.url}/t0ken", b"{}", timeout_s=0.2)
        free.set()
    assert caught.value.retry
    assert str(caught.value) == f"POST {sink.url}: context deadline exceeded (no complete answer in 0.2 s)"


async def test_redirects_are_followed_unless_the_configuration_says_otherwise(receivers: Receivers) -> None:
    receivers.sink.answer = lambda request: (
        Answer(307, headers={"Location": "/there"}) if request.path == "/here" else Answer()
    )
    await receivers.client.post(HttpClientConfig(), f"{receivers.sink.url}/here", b"{}")
    assert receivers.sink.last.path == "/there"
    with pytest.raises(DeliveryError) as caught:
        await receivers.client.post(
            HttpClientConfig(follow_redirects=False), f"{receivers.sink.url}/here", b"{}"
        )
    assert (caught.value.status, caught.value.retry) == (307, False)


async def test_long_answers_are_cut(receivers: Receivers) -> None:
    receivers.sink.answer = lambda _: Answer(200, "x" * (MAX_ANSWER + 100_000))
    response = await receivers.client.post(HttpClientConfig(), receivers.sink.url, b"{}")
    assert len(response.body) == MAX_ANSWER
    receivers.sink.answer = lambda _: Answer(500, "y\x07\n" * MAX_ANSWER)
    with pytest.raises(DeliveryError) as caught:
        await receivers.client.post(HttpClientConfig(), receivers.sink.url, b"{}")
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", ["", "ftp://a/b", "mailto:t0ken", "http://[t0ken", "http:///t0ken"])
async def test_urls_that_are_none(url: str, receivers: Receivers) -> None:
    with pytest.raises(DeliveryError) as caught:
        await receivers.client.post(HttpClientConfig(), url, b"{}")
    assert not caught.value.retry
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:00 GMT", "Date": "today"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 60.0),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:00 -0000", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 60.0),
        ({"Retry-After": "soon", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, None),
        ({}, None),
    ],
)
async def test_how_long_to_wait(headers: dict[str, str], seconds: float | None, receivers: Receivers) -> None:
    receivers.sink.answer = lambda _: Answer(503, headers=headers)
    with pytest.raises(DeliveryError) as caught:
        await receivers.client.post(HttpClientConfig(), receivers.sink.url, b"{}")
    assert caught.value.retry_after_s == seconds


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    memory = Memory(limit=2)
    memory.set(("a",), ("1",))
    memory.set(("b",), ("2",))
    assert memory.get("a") == ("1",)
    memory.set(("c",), ("3",))
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (("1",), None, ("3",))
    memory.forget("a")
    assert memory.get("a") is None
