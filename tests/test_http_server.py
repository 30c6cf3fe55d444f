"""The HTTP port's sockets."""

import asyncio
import socket

from otero.http_server import bind


async def _accepted_without_delay() -> bool:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connection = transport.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    listening = bind("127.0.0.1:0")
    server = await asyncio.get_running_loop().create_server(Protocol, sock=listening)
    async with server:
        _, writer = await asyncio.open_connection(*listening.getsockname())
        writer.close()
        return bool(await accepted)


def test_an_answer_in_two_pieces_does_not_wait_for_an_acknowledgement() -> None:
    assert asyncio.run(_accepted_without_delay())
