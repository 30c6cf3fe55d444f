"""`otero replay`: rules over stored history."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from otero.cli.client import Client
from otero.cli.query import moment, series_name
from otero.errors import BadInput
from otero.fields import Duration
from otero.query.promql.engine import FEATURES
from otero.rules.config import load_rule_files

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 5


def replay(
    path: Path,
    client: Client,
    *,
    since: str,
    until: str | None,
    alerts: Sequence[str],
    step: str,
    as_json: bool,
) -> int:
    """Ask the server alert by alert, so that progress is seen, and print what became of each; 1 when one failed."""
    [file] = load_rule_files([str(path)], FEATURES)
    names = dict.fromkeys(rule.alert for group in file.content.groups for rule in group.rules if rule.alert)
    if missing := [name for name in alerts if name not in names]:
        raise BadInput(f"{path} has no alert {missing[0]}; it has {', '.join(names) or 'none'}")
    text = path.read_text()
    body: dict[str, Any] = {"rules": text, "since": since, "step": step}
    if until is not None:
        body["until_ms"] = round(float(moment(until)) * 1000)
    else:
        body["until_ms"] = round(float(moment("now")) * 1000)  # the same for every request
    report: dict[str, Any] = {"rules": []}
    console = Console(soft_wrap=True, highlight=False)
    wanted = list(alerts or names)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=len(wanted))
        for name in wanted:
            progress.update(task, description=name)
            answer = client.post("/api/otero/v1/replay", {**body, "alert": name})
            report = {**answer, "rules": [*report["rules"], *answer["rules"]]}
            progress.advance(task)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        if "start_ms" in report:
            console.print(f"{_time(report['start_ms'])} … {_time(report['end_ms'])}")
        for rule in report["rules"]:
            _print_rule(rule, console)
        if not report["rules"]:
            console.print(f"{path} has no alerting rules")
    return 1 if any(rule["error"] for rule in report["rules"]) else 0


def _print_rule(rule: dict[str, Any], console: Console) -> None:
    console.print()
    console.print(Text(rule["alert"], "bold"), Text(f"({rule['group']})"))
    console.print(Text(f"  {rule['expr']}", "dim"))
    if rule["error"]:
        console.print(
            Text(f"  {rule['failed']} of {rule['evaluations']} evaluations failed: {rule['error']}", "red")
        )
    pending = f", {_times(rule['only_pending'])} pending without firing" if rule["only_pending"] else ""
    if not rule["fired"]:
        console.print(f"  would not have fired{pending}")
        if not rule["only_pending"]:
            return
    else:
        alerts = f"{rule['alerts']} alert{'s' if rule['alerts'] != 1 else ''}"
        console.print(f"  would have fired {_times(rule['fired'])} ({alerts}){pending}")
        console.print(
            f"  firing {_span(rule['firing_s'])} in all, at most {_span(rule['longest_s'])} at a time;"
            f" {rule['changes_per_day']:g} changes a day, {rule['short']} shorter than 5m"
        )
    console.print(Text.assemble("  firing  |", (_bars(rule["timeline_firing"]), "red"), "|"))
    console.print(Text.assemble("  pending |", (_bars(rule["timeline_pending"]), "yellow"), "|"))
    fired = [episode for episode in rule["episodes"] if episode["firing_ms"] is not None]
    for episode in fired[-_SHOWN:]:
        end = (
            "still firing"
            if episode["end_ms"] is None
            else f"{_span((episode['end_ms'] - episode['firing_ms']) / 1000)}"
        )
        labels = {name: value for name, value in episode["labels"].items() if name != "alertname"}
        console.print(Text(f"  {_time(episode['firing_ms'])}  {end}  {series_name(labels)}"))
    if len(fired) > _SHOWN or rule["episodes_left_out"]:
        console.print(Text(f"  the {min(_SHOWN, len(fired))} newest are shown; --json tells more", "dim"))


def _bars(counts: Sequence[int]) -> str:
    most = max([*counts, 1])
    return "".join(_BARS[0 if not count else max(round(count / most * 8), 1)] for count in counts)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _span(seconds: float) -> str:
    return str(Duration(round(seconds * 1000)))


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
