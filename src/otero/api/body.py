"""Request bodies: read whole, decompressed, bounded after decompression."""

import asyncio
import zlib
from functools import partial

import cramjam
from starlette.requests import ClientDisconnect, Request

from otero.errors import BadInput, Cancelled, LimitExceeded

_STEP = 1 << 20
_QUICK = 4096
"""Shorter bodies are decompressed on the spot: a few milliseconds at the very most."""
_FRAMED = b"\xff\x06\x00\x00sNaPpY"
_FRAME_MAX = 1 << 16


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, its Content-Encoding undone: gzip, deflate, snappy (a block or framed).

    Raises LimitExceeded when it is longer than `max_bytes` before or after that, BadInput for an unknown encoding and
    for what does not decompress, Cancelled when the client hangs up.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Cancelled("the client hung up while sending") from None
    body = b"".join(chunks)
    match encoding:
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            undo = partial(inflate, body, 31, max_bytes)
        case "deflate":
            undo = partial(inflate, body, 47, max_bytes)
        case "snappy":
            undo = partial(unsnap, body, max_bytes)
        case _:
            raise BadInput(
                f"cannot read a body with Content-Encoding {encoding[:40]!r}: use gzip, deflate, snappy or none"
            )
    return undo() if len(body) < _QUICK else await asyncio.to_thread(undo)


def inflate(data: bytes, window_bits: int, max_bytes: int) -> bytes:
    """What zlib makes of it: 31 takes gzip with one or more members, 47 takes gzip or a zlib stream."""
    pieces: list[bytes] = []
    size = 0
    stream = zlib.decompressobj(window_bits)
    try:
        while data:
            piece = stream.decompress(data, _STEP)
            data = stream.unconsumed_tail
            if stream.eof and (data := stream.unused_data):
                stream = zlib.decompressobj(window_bits)
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(piece)
        # A last piece can wait inside although all input is consumed.
        while not stream.eof and (piece := stream.decompress(stream.unconsumed_tail, _STEP)):
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(piece)
    except zlib.error as error:
        raise BadInput(f"the compressed body cannot be read: {error}") from None
    if not stream.eof:
        raise BadInput("the compressed body ends too early")
    return b"".join(pieces)


def unsnap(data: bytes, max_bytes: int) -> bytes:
    """The bytes of a snappy block, or of snappy's framing format. The lengths that it promises are checked before."""
    if not data:
        return b""
    framed = data.startswith(_FRAMED)
    if (_framed_size(data) if framed else _block_size(data)) > max_bytes:
        raise _too_large(max_bytes)
    try:
        return bytes(cramjam.snappy.decompress(data) if framed else cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise BadInput(f"the snappy body cannot be read: {error}") from None


def _block_size(data: bytes) -> int:
    size = 0
    for shift, byte in enumerate(data[:5]):
        size |= (byte & 127) << 7 * shift
        if byte < 128:
            return size
    raise BadInput("the snappy body cannot be read: it does not begin with its length")


def _framed_size(data: bytes) -> int:
    """At most this many bytes come out of a framed stream: 64 KiB for each chunk that holds data."""
    at = total = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "little")
        if data[at] == 0x00:
            total += min(_block_size(data[at + 8 : at + 13]), _FRAME_MAX)
        elif data[at] == 0x01:
            total += length - 4
        at += 4 + length
    return total


def _too_large(max_bytes: int) -> LimitExceeded:
    return LimitExceeded(f"the body is longer than {max_bytes:,} bytes: send it in parts")
