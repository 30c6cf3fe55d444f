"""What somebody asked `otero demo` for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otero.demo.faults import Active


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`faults` are switched on when data is there; `in_turn`, one after the other, round and round.

    `database` and `redis` are URLs that the services use in place of SQLite and their own memory.
    """

    listen: str
    data: Path | None = None
    faults: Sequence[Active] = ()
    in_turn: bool = False
    database: str | None = None
    redis: str | None = None
    seed: int = 0
