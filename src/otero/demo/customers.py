"""The shop's customers: they come as they like, look around, log in, order, pay, and sometimes fail."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from otero.demo.services.names import BAD_CARD, PASSWORD, PRODUCTS, USERS

VISITORS_PER_S: Final = 1.5
MAX_VISITORS: Final = 40
"""Who comes while so many are there already is turned away, so that slow services are not buried."""
TIMEOUT_S: Final = 15.0
_THINK_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody orders, and whether their card is good."""

    product: str
    quantity: int
    card: str


@dataclass(frozen=True, slots=True)
class Journey:
    """What a visitor will do, decided before it is done. `pauses_s` are the times between their requests."""

    looks_at: tuple[str, ...]
    user: str | None
    password: str
    orders: tuple[Order, ...]
    pauses_s: tuple[float, ...]


def arrivals(chance: random.Random, per_s: float) -> Iterator[float]:
    """Seconds between one visitor and the next: a Poisson process."""
    while True:
        yield chance.expovariate(per_s)


def journey(chance: random.Random) -> Journey:
    """A visitor: most look around, many log in, many of these order, a few have a wrong password or a bad card."""
    looks_at = tuple(chance.choice(PRODUCTS) for _ in range(chance.randint(1, 3)))
    if chance.random() < 0.03:
        looks_at = (*looks_at, "unicorn")
    user = chance.choice(USERS) if chance.random() < 0.75 else None
    password = "wrong" if chance.random() < 0.04 else PASSWORD
    orders = tuple(
        Order(
            chance.choice(PRODUCTS),
            chance.choice((1, 1, 2, 3)),
            BAD_CARD if chance.random() < 0.08 else f"{chance.randrange(1000, 10_000)}",
        )
        for _ in range(chance.choice((0, 1, 1, 2)))
    )
    pauses_s = tuple(min(chance.expovariate(1 / _THINK_S), 5.0) for _ in range(16))
    return Journey(looks_at, user, password, orders, pauses_s)


class Customers:
    """Lets visitors come until it is cancelled."""

    def __init__(self, gateway: str, seed: int, per_s: float = VISITORS_PER_S) -> None:
        self._gateway = gateway
        self._chance = random.Random(seed)  # noqa: S311 — no secret
        self._per_s = per_s
        self.turned_away = 0
        self.visits = 0

    async def run(self) -> None:
        """Visitors come one after the other, however long the others stay."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=MAX_VISITORS)
        loop = asyncio.get_running_loop()
        async with (
            aiohttp.ClientSession(self._gateway, timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as visitors,
        ):
            there: set[asyncio.Task[None]] = set()
            due_s = loop.time()
            for pause_s in arrivals(self._chance, self._per_s):
                due_s = max(due_s + pause_s, loop.time() - 1)  # after a standstill nobody catches up
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                plan = journey(self._chance)
                if len(there) >= MAX_VISITORS:
                    self.turned_away += 1
                    continue
                self.visits += 1
                visitor = visitors.create_task(_visit(session, plan))
                there.add(visitor)
                visitor.add_done_callback(there.discard)


async def _visit(session: aiohttp.ClientSession, plan: Journey) -> None:
    pauses_s = iter(plan.pauses_s)

    async def ask(method: str, path: str, body: Any = None, token: str = "") -> Any:
        await asyncio.sleep(next(pauses_s, _THINK_S))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with session.request(method, path, json=body, headers=headers) as response:
            return await response.json() if response.status < 300 and response.status != 204 else None

    # Whoever meets an error leaves.
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
        await ask("GET", "/products")
        for product in plan.looks_at:
            await ask("GET", f"/products/{product}")
        if plan.user is None:
            return
        session_ = await ask("POST", "/login", {"user": plan.user, "password": plan.password})
        if session_ is None:
            return
        token = session_["token"]
        for wanted in plan.orders:
            made = await ask(
                "POST", "/orders", {"product": wanted.product, "quantity": wanted.quantity}, token
            )
            if made is not None:
                await ask("POST", f"/orders/{made['number']}/payment", {"card": wanted.card}, token)
        await ask("GET", "/orders", token=token)
        await ask("POST", "/logout", token=token)
