"""`otero status`: what a server is doing."""

import time

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from otero.cli.client import Client
from otero.fields import Duration


def status(client: Client) -> int:
    """Print the server's state; exit code 1 when it is not ready or refuses writes."""
    answer = client.get("/api/otero/v1/status")
    storage = answer["storage"]
    now_ms = time.time_ns() // 1_000_000
    up_ms = (now_ms - answer["started_ms"]) // 1000 * 1000
    span_ms = max(storage["head_max_time_ms"] - storage["head_min_time_ms"], 0) // 1000 * 1000
    rows = [
        ("version", answer["version"]),
        ("state", "ready" if answer["ready"] else "starting"),
        ("up for", str(Duration(up_ms))),
        ("doors", ", ".join(f"{door['name']} {door['address']}" for door in answer["doors"])),
        ("targets", f"{answer['targets_up']} up, {answer['targets_down']} down"),
        (
            "configuration",
            "in force" if answer["config_reload_ok"] else "last reload FAILED, the one before is in force",
        ),
        ("series in memory", f"{storage['series']:,}"),
        (
            "samples in memory",
            f"{storage['head_samples']:,} over {Duration(span_ms)}, {decimal(storage['head_bytes'])}",
        ),
        ("journal", decimal(storage["journal_bytes"])),
        ("engine behind by", f"{storage['engine_lag_s']:.0f} s"),
        *(
            (
                f"{signal} waiting",
                f"{found['waiting']:,} for {found['engine_lag_s']:.0f} s, journal {decimal(found['journal_bytes'])}"
                + ("" if found["writable"] else ", REFUSED (the server's log says why)"),
            )
            for signal, found in answer["records"].items()
        ),
        ("writes", "accepted" if storage["writable"] else "REFUSED (the server's log says why)"),
        ("memory", decimal(answer["resident_bytes"])),
        ("CPU used", f"{answer['cpu_seconds']:.1f} s"),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    Console(soft_wrap=True).print(table)
    writable = storage["writable"] and all(found["writable"] for found in answer["records"].values())
    return 0 if answer["ready"] and writable else 1
