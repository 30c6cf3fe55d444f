"""Customers: how they arrive, that a seed decides what they do, and that slow services are not buried."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter

from aiohttp import web

from otero.demo.customers import MAX_VISITORS, Customers, arrivals, journey
from otero.demo.services.names import BAD_CARD, PASSWORD, PRODUCTS


def test_arrivals_are_a_poisson_process() -> None:
    pauses_s = list(itertools.islice(arrivals(random.Random(1), 4.0), 20_000))
    assert abs(sum(pauses_s) / len(pauses_s) - 0.25) < 0.01
    # Counts in windows of a second have the variance of their mean, and a pause says nothing about the next one.
    times = itertools.accumulate(pauses_s)
    counts = list(Counter(int(time_s) for time_s in times).values())
    mean = sum(counts) / len(counts)
    assert 0.8 < sum((count - mean) ** 2 for count in counts) / len(counts) / mean < 1.2


def test_the_seed_decides() -> None:
    first, again = random.Random(7), random.Random(7)
    journeys = [journey(first) for _ in range(300)]
    assert journeys == [journey(again) for _ in range(300)]
    assert journeys != [journey(random.Random(8)) for _ in range(300)]
    orders = [order for one in journeys for order in one.orders]
    assert {order.product for order in orders} == set(PRODUCTS)
    assert 0 < sum(order.card == BAD_CARD for order in orders) < len(orders) / 4
    assert 0 < sum(one.password != PASSWORD for one in journeys) < 60
    assert any("unicorn" in one.looks_at for one in journeys)


async def test_a_service_that_hangs_keeps_a_bounded_number_waiting() -> None:
    waiting, most = 0, 0
    over, all_there = asyncio.Event(), asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        if waiting == MAX_VISITORS:
            all_there.set()
        await over.wait()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hang)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    customers = Customers(f"http://127.0.0.1:{address[1]}", seed=1, per_s=2000)
    running = asyncio.create_task(customers.run())
    try:
        await asyncio.wait_for(all_there.wait(), 60)
    finally:
        over.set()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await runner.cleanup()
    assert most == customers.visits == MAX_VISITORS
    assert customers.turned_away > 100
