"""`otero why`: the story of an alert, from the value of its rule to the answer of the receiver."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.text import Text

from otero.cli.client import Client
from otero.fields import Duration

_WORDS = {
    "rule_pending": ("pending", "yellow"),
    "rule_firing": ("firing", "red"),
    "rule_resolved": ("resolved", "green"),
    "rule_forgotten": ("forgotten", "dim"),
    "rule_kept_firing": ("kept firing", "yellow"),
    "rule_failed": ("rule fails", "red"),
    "rule_recovered": ("rule works", "green"),
    "template_failed": ("template", "red"),
    "received": ("received", ""),
    "resolved": ("ended", "green"),
    "routed": ("routed", ""),
    "waiting": ("waiting", ""),
    "inhibited": ("inhibited", "magenta"),
    "uninhibited": ("free again", ""),
    "silenced": ("silenced", "magenta"),
    "unsilenced": ("free again", ""),
    "muted_by_time": ("muted", "magenta"),
    "active_again": ("free again", ""),
    "deduplicated": ("not repeated", "dim"),
    "attempt_failed": ("FAILED", "red"),
    "delivered": ("delivered", "green"),
    "given_up": ("GIVEN UP", "bold red"),
}
"""What stands in the timeline for each kind of decision, and its style."""
_STATES = {"firing": "bold red", "pending": "bold yellow", "inactive": "green"}
_WIDTH = max(len(word) for word, _ in _WORDS.values())
_LONGEST_CYCLE = 8
_LEAST_REPEATS = 3

Decision = Mapping[str, Any]


def why(alert: str, client: Client, *, labels: Sequence[str], since: str, as_json: bool) -> int:
    """Print the story; 1 when nothing is known of such an alert."""
    params = [("alertname", alert), ("since", since), *(("label", label) for label in labels)]
    answer = client.get(f"/api/otero/v1/alerts/why?{urlencode(params)}")
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return 0 if answer["alerts"] or answer["rules"] else 1
    if not answer["alerts"] and not answer["rules"]:
        print(unknown(answer, labels), file=sys.stderr)
        return 1
    console = Console(soft_wrap=True, highlight=False)
    for line in report(answer):
        console.print(line)
    return 0


def unknown(answer: Mapping[str, Any], labels: Sequence[str]) -> str:
    """What is said of an alert that has neither a rule nor a story."""
    since = _span(answer["now_ms"] - answer["start_ms"])
    of_labels = f" with {', '.join(labels)}" if labels else ""
    near = answer["near_names"]
    hint = f"; do you mean {' or '.join(near)}?" if near else "; --since looks further back"
    return (
        f"otero why: no rule is called {answer['alertname']}, and no such alert{of_labels} was seen in the last"
        f" {since}{hint}"
    )


def report(answer: Mapping[str, Any]) -> Iterator[Text]:
    """The whole answer, line by line."""
    now_ms = answer["now_ms"]
    for rule in answer["rules"]:
        yield from _rule(rule, answer["alertname"], now_ms)
    if answer["truncated"]:
        yield Text("There is more than is shown; a shorter --since or a --label tells all of less.", "yellow")
    if answer["rule_decisions"]:
        yield Text()
        yield from timeline(answer["rule_decisions"])
    for alert in answer["alerts"]:
        yield Text()
        yield from _alert(alert, answer["alertname"], now_ms)
    if not answer["alerts"]:
        since = _span(now_ms - answer["start_ms"])
        yield Text.assemble(("→ ", "bold"), f"It was neither pending nor firing in the last {since}.")


def _rule(rule: Mapping[str, Any], name: str, now_ms: int) -> Iterator[Text]:
    lasting = f" for {Duration(int(rule['for_s'] * 1000))}" if rule["for_s"] else ""
    yield Text.assemble((f"rule {name}", "bold"), f": {_printable(rule['query'])}{lasting}")
    where = f"  {_printable(rule['file'])}, group {_printable(rule['group'])}"
    if rule["health"] == "err":
        yield Text.assemble(where, ("; it cannot be evaluated: ", "red"), _printable(rule["error"]))
        return
    if not rule["evaluated_ms"]:
        yield Text(f"{where}; it has not been evaluated yet")
        return
    ago = _span(now_ms - rule["evaluated_ms"])
    state = "its expression is false" if rule["state"] == "inactive" else rule["state"]
    yield Text.assemble(f"{where}; evaluated {ago} ago: ", (state, _STATES.get(rule["state"], "")))
    measured = rule["measured"]
    if measured is None:
        return
    query = _printable(measured["query"])
    if not measured["series"]:
        yield Text(f"  {query} has no data now: such a rule never fires", "yellow")
    elif measured["series"] == 1:
        yield Text(f"  {query} is {measured['lowest']} now")
    else:
        yield Text(
            f"  {query} has {measured['series']} series now, from {measured['lowest']} to {measured['highest']}"
        )


def _alert(alert: Mapping[str, Any], name: str, now_ms: int) -> Iterator[Text]:
    shown = ", ".join(
        f'{key}="{_printable(value)}"' for key, value in alert["labels"].items() if key != "alertname"
    )
    yield Text.assemble((alert["labels"].get("alertname", name), "bold"), f"{{{shown}}}")
    state = alert["state"]
    about = [f"fingerprint {alert['fingerprint']}"]
    if state:
        last = alert["decisions"][-1]["time_ms"]
        about.append(f"last heard of {_span(now_ms - last)} ago")
    yield Text.assemble(
        "  ", ("not firing" if state == "inactive" else state or "state unknown", _STATES.get(state, "")), "; ",
        "; ".join(about),
    )  # fmt: skip
    yield from timeline(alert["decisions"])
    style = "bold red" if alert["not_told"] or not alert["told"] else "bold green"
    yield Text.assemble(("→ ", style), _printable(alert["conclusion"]))


@dataclass(frozen=True, slots=True)
class Folded:
    """Decisions that stand for `times` more like them before."""

    decisions: Sequence[Decision]
    times: int = 0
    since_ms: int = 0


def fold(decisions: Sequence[Decision]) -> list[Folded]:
    """Runs of the same steps over and over: the last of each run, with how often it came before. Steps are the same
    when kind, group, receiver and integration are."""
    keys = [(one["kind"], one["group_key"], one["receiver"], one["integration"]) for one in decisions]
    out: list[Folded] = []
    at = 0
    while at < len(keys):
        length, repeats = _cycle(keys, at)
        if repeats < _LEAST_REPEATS:
            out.append(Folded(decisions[at : at + 1]))
            at += 1
            continue
        last = at + length * (repeats - 1)
        out.append(Folded(decisions[last : last + length], repeats - 1, decisions[at]["time_ms"]))
        at = last + length
    return out


def _cycle(keys: Sequence[object], at: int) -> tuple[int, int]:
    """The length of the shortest run that repeats from there on, and how often it stands there in all."""
    for length in range(1, _LONGEST_CYCLE + 1):
        repeats = 1
        while keys[at : at + length] == keys[at + length * repeats : at + length * (repeats + 1)]:
            repeats += 1
        if repeats >= _LEAST_REPEATS:
            return length, repeats
    return 1, 1


def timeline(decisions: Sequence[Decision]) -> Iterator[Text]:
    """A line for each decision: its time in UTC, the time since the one before, what and why."""
    day, before_ms = "", 0
    for part in fold(decisions):
        if part.times:
            words = ", ".join(
                dict.fromkeys(_WORDS.get(one["kind"], (one["kind"],))[0] for one in part.decisions)
            )
            since = _when(part.since_ms)
            yield Text(f"  ⋮ {words}: {part.times} times before, since {since} UTC", "dim")
        for one in part.decisions:
            time_ms = one["time_ms"]
            moment = _when(time_ms)
            if moment[:10] != day:
                day, before_ms = moment[:10], before_ms if day else time_ms
                yield Text(f"  {day} (UTC)", "dim")
            later = time_ms - before_ms
            word, style = _WORDS.get(one["kind"], (one["kind"], ""))
            to = " ".join(part for part in (one["receiver"], one["integration"]) if part)
            line = Text.assemble(
                "  ", (moment[11:], "dim"), f" {f'+{_span(later)}' if later >= 1000 else '':>9}  "
            )
            line.append(f"{word:<{_WIDTH}}", style=style)
            if one["integration"]:
                line.append(f"  {_printable(to)}:", style="bold")
            line.append(
                f"  {_printable(one['text'])}" if not one["integration"] else f" {_printable(one['text'])}"
            )
            yield line
            before_ms = time_ms


def _when(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _span(ms: int) -> str:
    """Two units are enough: `3d4h`, `1h30m`, `12s`."""
    ms = max(ms, 0)
    for size, finest in ((86_400_000, 3_600_000), (3_600_000, 60_000)):
        if ms >= size:
            return str(Duration(ms // finest * finest))
    return str(Duration(ms // 1000 * 1000))


def _printable(text: str) -> str:
    """Without what could steer the terminal."""
    return "".join(char if char.isprintable() else "�" if char != "\n" else " " for char in text)
