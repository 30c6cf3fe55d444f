"""What the demo says when it is up."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from otero.demo.faults import FAULTS, GATEWAY
from otero.demo.first_data import FirstData
from otero.demo.layout import Layout


def tour(layout: Layout, urls: Mapping[str, str], folder: Path, first: FirstData) -> Sequence[str]:
    """Addresses, and commands to try."""
    door, at = layout.door_url, "" if layout.listen.endswith(":9090") else f" --url {layout.url}"
    trace = first.trace_id or "ID"
    tells = max(len(name) for name in FAULTS)
    return (
        "",
        f"  Otero      {layout.url}",
        *(f"  {name:<10} {url}" for name, url in urls.items()),
        f"  demo door  {door}   faults and messages",
        f"  files      {folder}",
        "",
        "In a second terminal (. .venv/bin/activate), for example:",
        "",
        f"  otero query 'sum by (job) (rate(http_requests_total[1m]))' --start -5m{at}",
        f"  otero trace {trace}{at}",
        f"  curl -X POST {door}/faults/errors          # off again: curl -X DELETE {door}/faults",
        f"  otero why HighErrorRate{at}                # half a minute later",
        f"  curl {door}/messages                       # what Alertmanager sent; it is printed here, too",
        f"  curl {urls[GATEWAY]}/health",
        "",
        "Faults, and the alert that each raises:",
        "",
        *(f"  {fault.name:<{tells}}  {fault.alert:<18}  {fault.what}" for fault in FAULTS.values()),
        "",
        "Ctrl-C stops everything.",
    )


def first_data_line(first: FirstData) -> str:
    """How long it took."""
    if first.metrics_s is None:
        return "first data: none came within a minute; see the services' logs"
    line = f"first data: metrics of all three services {first.metrics_s:.1f} s after the command"
    return line if first.trace_s is None else f"{line}, a trace through them {first.trace_s:.1f} s"
