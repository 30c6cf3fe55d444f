"""Bodies are decompressed within their bound, whatever they claim."""

import contextlib
import gzip
import random
import threading
import zlib
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from otero.api import body as body_module
from otero.api.body import read_body
from otero.errors import BadInput, LimitExceeded

TEXT = b"m 1\n" * 1000


def request(body: bytes, encoding: str) -> Request:
    pieces = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    return Request(
        {"type": "http", "method": "POST", "headers": [(b"content-encoding", encoding.encode())]}, receive
    )


def block(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def framed(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(data))


ENCODINGS = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "snappy": block,
    "Snappy": framed,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_within_its_bound(encoding: str) -> None:
    packed = ENCODINGS[encoding](TEXT)
    assert await read_body(request(packed, encoding), len(TEXT)) == TEXT
    assert await read_body(request(ENCODINGS[encoding](b""), encoding), 100) == b""
    with pytest.raises(LimitExceeded):
        await read_body(request(packed, encoding), len(TEXT) - 1)


async def test_members_of_gzip_and_bombs() -> None:
    assert await read_body(request(gzip.compress(TEXT) * 2, "gzip"), 2 * len(TEXT)) == TEXT * 2
    bomb = gzip.compress(bytes(100_000_000))
    for body, encoding in (
        (bomb, "gzip"),
        (block(bytes(10_000_000)), "snappy"),
        (framed(bytes(10_000_000)), "snappy"),
    ):
        with pytest.raises(LimitExceeded):
            await read_body(request(body, encoding), 1_000_000)


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (gzip.compress(TEXT, mtime=0)[:-4], "gzip", "ends too early"),
        (b"plain", "gzip", "cannot be read"),
        (b"", "gzip", "ends too early"),
        (b"\xff\xff\xff\xff\xff\xff", "snappy", "does not begin with its length"),
        (block(TEXT)[:-2], "snappy", "cannot be read"),
        (TEXT, "br", "Content-Encoding 'br'"),
    ],
)
async def test_what_does_not_decompress(body: bytes, encoding: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await read_body(request(body, encoding), 1 << 20)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "snappy"]))
async def test_any_bytes_are_read_or_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(BadInput, LimitExceeded):
        assert len(await read_body(request(body, encoding), 1000)) <= 1000


@given(st.binary(max_size=2000), st.sampled_from(sorted(ENCODINGS)))
async def test_round_trip(data: bytes, encoding: str) -> None:
    assert await read_body(request(ENCODINGS[encoding](data), encoding), 2000) == data


async def test_long_bodies_do_not_hold_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    inflate = body_module.inflate

    def noting(*arguments: Any) -> bytes:
        threads.append(threading.get_ident())
        return inflate(*arguments)

    monkeypatch.setattr(body_module, "inflate", noting)
    data = random.Random(1).randbytes(100_000)
    assert await read_body(request(gzip.compress(data), "gzip"), 1 << 20) == data
    assert threads != [threading.get_ident()]
