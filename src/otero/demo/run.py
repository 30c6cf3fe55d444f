"""`otero demo`: a server, a shop that it scrapes, and customers."""

import asyncio
import contextlib
import random
import sys
import tempfile
from pathlib import Path

import aiohttp

from otero.app import run
from otero.config import load
from otero.errors import Unavailable
from otero.telemetry import set_up_logging

_REQUESTS_PER_S = 20
_PATHS = (
    ("GET", "/"),
    ("GET", "/products/lamp"),
    ("GET", "/products/chair"),
    ("GET", "/products/sofa"),
    ("POST", "/orders"),
)

_PROMETHEUS = """\
global:
  scrape_interval: 5s
scrape_configs:
  - job_name: otero
    static_configs: [{{targets: ["{listen}"]}}]
  - job_name: shop
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{service: shop}}}}]
"""
_OTERO = """\
prometheus: prometheus.yml
host: {enabled: true}
"""


async def demo(listen: str, data: Path | None) -> int:
    """Run until interrupted; the exit code of the server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otero-demo-")))
        shop, port = await _start_shop()
        customers = asyncio.create_task(_shop_around(port), name="customers")
        try:
            (folder / "prometheus.yml").write_text(_PROMETHEUS.format(listen=listen, port=port))
            (folder / "otero.yml").write_text(_OTERO)
            print(f"demo: a shop on http://127.0.0.1:{port} with customers; configuration in {folder}")
            print(
                f"try:  otero query 'sum by (endpoint) (rate(http_requests_total[1m]))' --url http://{listen}"
            )
            set_up_logging("warning")
            store = data or folder / "data"
            return await run(lambda: load(folder / "otero.yml", listen=listen, data=store))
        finally:
            customers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await customers
            await _stop_shop(shop)


async def _start_shop() -> tuple[asyncio.subprocess.Process, int]:
    shop = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "otero.demo.shop",
        "0",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    if shop.stdout is None:
        raise Unavailable("the demo's shop has no output")
    line = await asyncio.wait_for(shop.stdout.readline(), 30)
    if not line.strip().isdigit():
        raise Unavailable("the demo's shop did not start; install it with: pip install 'otero[demo]'")
    return shop, int(line)


async def _stop_shop(shop: asyncio.subprocess.Process) -> None:
    if shop.stdin is not None:
        shop.stdin.close()
    try:
        await asyncio.wait_for(shop.wait(), 5)
    except TimeoutError:
        shop.kill()
        await shop.wait()


async def _shop_around(port: int) -> None:
    """Customers: a steady stream of requests, some of which fail."""
    chance = random.Random()  # noqa: S311 — no secret
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
        asyncio.TaskGroup() as group,
    ):

        async def customer() -> None:
            while True:
                method, path = chance.choice(_PATHS)
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.request(method, f"http://127.0.0.1:{port}{path}") as response:
                        await response.read()
                await asyncio.sleep(chance.expovariate(_REQUESTS_PER_S / 4))

        for _ in range(4):
            group.create_task(customer())
