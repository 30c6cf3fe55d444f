"""What can be made to go wrong in the demo, and which alert tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NewType

from otero.errors import BadInput, NotFound

ServiceName = NewType("ServiceName", str)

GATEWAY: Final = ServiceName("gateway")
USERS: Final = ServiceName("users")
ORDERS: Final = ServiceName("orders")
SERVICES: Final = (GATEWAY, USERS, ORDERS)

GOOD_VERSION: Final = "1.4.0"
BAD_VERSION: Final = "1.5.0"

LATENCY_S: Final = 0.8
ERROR_SHARE: Final = 0.3
SLOW_QUERY_S: Final = 1.0
LEAK_BYTES_PER_S: Final = 32 << 20
LEAK_MAX_BYTES: Final = 384 << 20
BURN_MAX_S: Final = 600.0
"""A spinning processor is let go after ten minutes, should somebody forget it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble. `services` are those that can have it, the usual one first; `alert` is the rule that fires."""

    name: str
    what: str
    services: tuple[ServiceName, ...]
    alert: str


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault(
            "latency", f"every request takes {LATENCY_S} s longer", (USERS, ORDERS, GATEWAY), "HighLatency"
        ),
        Fault("errors", f"{ERROR_SHARE:.0%} of the requests fail", (ORDERS, USERS, GATEWAY), "HighErrorRate"),
        Fault("down", "the process is killed and stays away", (ORDERS, USERS, GATEWAY), "ServiceDown"),
        Fault("cpu", "a thread spins, for ten minutes at most", (USERS, ORDERS, GATEWAY), "HighCPU"),
        Fault(
            "memory",
            f"memory leaks, {LEAK_MAX_BYTES >> 20} MiB at most",
            (USERS, ORDERS, GATEWAY),
            "HighMemory",
        ),
        Fault("slow-query", f"each query of an order takes {SLOW_QUERY_S:.0f} s", (ORDERS,), "SlowQueries"),
        Fault("database", "somebody holds a lock on all of the database", (ORDERS,), "HealthCheckFailing"),
        Fault("deploy", f"version {BAD_VERSION} goes live, with a bug", (ORDERS,), "BadDeploy"),
    )
}


@dataclass(frozen=True, slots=True, order=True)
class Active:
    """A fault of one service."""

    service: ServiceName
    name: str

    @property
    def fault(self) -> Fault:
        return FAULTS[self.name]


def chosen(name: str, service: str | None = None) -> Active:
    """The fault of this name, of the service or of its usual one. Raises NotFound or BadInput, naming what there is."""
    fault = FAULTS.get(name)
    if fault is None:
        raise NotFound(f'there is no fault "{name}"; there are {", ".join(FAULTS)}')
    if service is None:
        return Active(fault.services[0], name)
    for known in fault.services:
        if known == service:
            return Active(known, name)
    raise BadInput(
        f'the fault "{name}" is not one of a service "{service}"; it is one of {", ".join(fault.services)}'
    )


def parse(text: str) -> tuple[Sequence[Active], bool]:
    """What `--faults` says: `none`, `all`, or names with commas, each with `:SERVICE` or without.

    The faults, and whether they come one after the other (`all`). Raises NotFound or BadInput.
    """
    if text in ("", "none"):
        return (), False
    if text == "all":
        return tuple(chosen(name) for name in FAULTS), True
    faults: dict[Active, None] = {}
    for part in text.split(","):
        name, separator, service = part.strip().partition(":")
        faults[chosen(name, service if separator else None)] = None
    return tuple(faults), False
