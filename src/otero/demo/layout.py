"""Where the parts of a demo are: ports, and the folder with its configuration."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otero.demo.faults import GATEWAY, ORDERS, USERS, ServiceName
from otero.errors import BadConfig, Problem, Unavailable

STACK: Final = Path(__file__).parent / "stack"
"""The configuration files of the demo, as they are used."""
DOOR: Final = "messages"
MAIL: Final = "mail"
PREFERRED: Final = {GATEWAY: 8001, USERS: 8002, ORDERS: 8003, DOOR: 8004, MAIL: 2525}
"""Ports by the names that the configuration files use; another one is taken where one is in use."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`listen` is Otero's HOST:PORT; `ports` are those of the services; `door` and `mail` are bound already."""

    listen: str
    ports: dict[ServiceName, int]
    door: socket.socket
    mail: socket.socket

    @property
    def url(self) -> str:
        """Otero's URL."""
        return f"http://{self.listen}"

    @property
    def door_url(self) -> str:
        return f"http://127.0.0.1:{self.door.getsockname()[1]}"

    def close(self) -> None:
        """Close the sockets that nobody took over."""
        self.door.close()
        self.mail.close()


def lay_out(listen: str) -> Layout:
    """Find ports. Raises BadConfig for a `listen` that is not on this machine, as the demo asks nobody who they are."""
    host, _, port = listen.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isascii() or not port.isdigit():
        raise BadConfig(Problem(f"the demo listens on loopback only, not on {listen!r}; use 127.0.0.1:PORT"))
    if int(port) == 0:
        listen = f"127.0.0.1:{_free(0)}"
    ports = {name: _free(PREFERRED[name]) for name in (GATEWAY, USERS, ORDERS)}
    door = _bound(PREFERRED[DOOR])
    try:
        return Layout(listen, ports, door, _bound(PREFERRED[MAIL]))
    except BaseException:
        door.close()
        raise


def write_configuration(folder: Path, layout: Layout) -> Path:
    """Copy the configuration into the folder and add otero.yml, whose path this is: it leads names to ports."""
    for source in STACK.rglob("*"):
        if source.is_file():
            target = folder / source.relative_to(STACK)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    taken = {
        **{str(name): port for name, port in layout.ports.items()},
        DOOR: layout.door.getsockname()[1],
        MAIL: layout.mail.getsockname()[1],
    }
    places = {f"{name}:{PREFERRED[name]}": f"127.0.0.1:{port}" for name, port in taken.items()}
    places["localhost:9090"] = f"127.0.0.1:{layout.listen.rpartition(':')[2]}"
    lines = [
        "# The demo's otero.yml.",
        "prometheus: prometheus.yml",
        "alertmanager: alertmanager.yml",
        "dashboards: [dashboards/*.json]",
        "host: {enabled: true, interval: 5s}",
        "storage: {path: data, retention: {metrics: 2d, logs: 1d, traces: 1d, decisions: 2d}}",
        "hosts:",
        *(f'  "{name}": "{place}"' for name, place in places.items()),
    ]
    path = folder / "otero.yml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _bound(preferred: int) -> socket.socket:
    """A listening socket on this port, or on any if it is taken."""
    for port in (preferred, 0):
        # Named, because asyncio turns off Nagle's algorithm only where it sees TCP.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            found.listen(128)
        except OSError:
            found.close()
            continue
        found.setblocking(False)
        return found
    raise Unavailable("this machine has no free port on 127.0.0.1")


def _free(preferred: int) -> int:
    """A port that nobody uses now."""
    with _bound(preferred) as probe:
        return probe.getsockname()[1]
