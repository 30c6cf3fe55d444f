"""How a service misbehaves: the faults that are on, and what they do to it."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from flask import Flask, request

from otero.demo import faults

_PIECE_BYTES: Final = 4 << 20


class Injected(RuntimeError):
    """A request that fails because a fault is on."""


class Trouble:
    """The faults of this process. `activities` are those that a service brings itself: each runs in a thread until its
    event is set."""

    def __init__(
        self, chance: random.Random, activities: Mapping[str, Callable[[threading.Event], None]] | None = None
    ) -> None:
        self._chance = chance
        self._on: frozenset[str] = frozenset()
        self._activities = {"cpu": _burn, "memory": _leak, **(activities or {})}
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def has(self, name: str) -> bool:
        """Whether the fault is on."""
        return name in self._on

    def set(self, names: Iterable[str]) -> None:
        """Exactly these faults are on from here on. Called by one thread."""
        self._on = frozenset(names)
        for name, activity in self._activities.items():
            if name in self._on and name not in self._running:
                stop = threading.Event()
                thread = threading.Thread(target=activity, args=(stop,), name=f"fault-{name}", daemon=True)
                self._running[name] = (thread, stop)
                thread.start()
            elif name not in self._on and name in self._running:
                thread, stop = self._running.pop(name)
                stop.set()
                thread.join()

    def install(self, app: Flask) -> None:
        """Let the requests of this application suffer."""

        @app.before_request
        def suffer() -> None:
            if self.has("latency"):
                time.sleep(faults.LATENCY_S)
            if self.has("errors") and self._chance.random() < faults.ERROR_SHARE:
                raise Injected(f"{request.method} {request.path} fails because the fault is on")


def _burn(stop: threading.Event) -> None:
    """Spin on one core, which is all that the interpreter lets a process use."""
    end_s = time.monotonic() + faults.BURN_MAX_S
    while not stop.is_set() and time.monotonic() < end_s:
        sum(range(10_000))


def _leak(stop: threading.Event) -> None:
    """Keep more and more memory, up to the bound, and let go of it when it is switched off."""
    kept: list[bytearray] = []
    pause_s = _PIECE_BYTES / faults.LEAK_BYTES_PER_S
    while not stop.wait(pause_s):
        if len(kept) * _PIECE_BYTES < faults.LEAK_MAX_BYTES:
            kept.append(bytearray(b"\1") * _PIECE_BYTES)  # written to, so that it is resident
