"""A webhook receiver as fast as Python makes one: counts what it gets. Prints its port, then a line for each second in
which something came; `python -m benchmarks.alert_sink`."""

import asyncio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink(asyncio.Protocol):
    """Requests with Content-Length, one after the other on each connection."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + size:
                return
            body, self._data = self._data[end + 4 : end + 4 + size], self._data[end + 4 + size :]
            self.received(body)
            self._transport.write(ANSWER)

    def received(self, _body: bytes) -> None:
        Sink.count += 1


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    before = 0
    while True:
        await asyncio.sleep(0.05)
        if Sink.count != before:
            before = Sink.count
            print(before, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
