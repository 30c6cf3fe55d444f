"""`otero why` as it is read: times, folding, what is said of an alert that nobody knows."""

from typing import Any

from otero.cli.why import _WORDS, fold, report, timeline, unknown
from otero.model.decisions import DecisionKind

T = 1_700_000_000_000
MINUTE = 60_000


def one(kind: str, minute: float, text: str = "Because.", **more: str) -> dict[str, Any]:
    empty = {"group_key": "", "receiver": "", "integration": "", "detail": {}}
    return {"kind": kind, "time_ms": T + int(minute * MINUTE), "text": text, **empty, **more}


def answer(**more: Any) -> dict[str, Any]:
    empty = {"rules": [], "alerts": [], "rule_decisions": [], "near_names": [], "truncated": False}
    return {"alertname": "Down", "start_ms": T - 86_400_000, "now_ms": T + 90 * MINUTE, **empty, **more}


def test_every_kind_of_decision_has_a_word() -> None:
    assert set(_WORDS) == set(DecisionKind)


def test_a_timeline() -> None:
    lines = [
        line.plain
        for line in timeline(
            [
                one("rule_pending", 0, "True."),
                one("rule_firing", 5, "True for 5m."),
                one("received", 5),
                one("delivered", 5.5, "Done.", receiver="page", integration="slack[0]"),
                one("rule_resolved", 24 * 60, "Over\x1b[2J."),
            ]
        )
    ]
    assert lines == [
        "  2023-11-14 (UTC)",
        "  22:13:20            pending       True.",
        "  22:18:20       +5m  firing        True for 5m.",
        "  22:18:20            received      Because.",
        "  22:18:50      +30s  delivered     page slack[0]: Done.",
        "  2023-11-15 (UTC)",
        "  22:13:20   +23h54m  resolved      Over�[2J.",
    ]


def test_what_repeats_is_folded() -> None:
    flapping = [one(("rule_pending", "rule_forgotten")[n % 2], n) for n in range(20)]
    steps = [*flapping, one("rule_pending", 20), one("rule_firing", 25)]
    parts = fold(steps)
    assert [(len(part.decisions), part.times) for part in parts] == [(2, 9), (1, 0), (1, 0)]
    assert list(parts[0].decisions) == steps[18:20]
    assert parts[0].since_ms == T
    assert next(timeline(steps)).plain == (
        "  ⋮ pending, forgotten: 9 times before, since 2023-11-14 22:13:20 UTC"
    )
    twice = [one("delivered", 0), one("deduplicated", 1)] * 2
    assert [part.times for part in fold(twice)] == [0, 0, 0, 0]
    assert fold([]) == []
    others = [one("delivered", n, integration=f"slack[{n % 3}]") for n in range(4)]
    assert len(fold(others)) == 4, "other integrations are other steps"


def test_a_report_ends_with_the_conclusion() -> None:
    told = {
        "labels": {"alertname": "Down", "instance": "a"},
        "fingerprint": "00000000000000ff",
        "state": "firing",
        "decisions": [one("rule_firing", 0)],
        "conclusion": "Nobody was told: night.",
        "told": [],
        "not_told": ["night"],
    }
    lines = [line.plain for line in report(answer(alerts=[told]))]
    assert lines[1:3] == [
        'Down{instance="a"}',
        "  firing; fingerprint 00000000000000ff; last heard of 1h30m ago",
    ]
    assert lines[-1] == "→ Nobody was told: night."


def test_a_rule_that_never_fired_says_what_it_sees() -> None:
    rule = {
        "group": "g",
        "file": "r.yml",
        "query": "up == 0",
        "for_s": 120.0,
        "state": "inactive",
        "health": "ok",
        "error": "",
        "evaluated_ms": T + 89 * MINUTE,
        "measured": {"query": "up", "series": 3, "lowest": "1", "highest": "1"},
    }
    lines = [line.plain for line in report(answer(rules=[rule]))]
    assert lines == [
        "rule Down: up == 0 for 2m",
        "  r.yml, group g; evaluated 1m ago: its expression is false",
        "  up has 3 series now, from 1 to 1",
        "→ It was neither pending nor firing in the last 1d1h.",
    ]
    no_data = rule | {"measured": {"query": "up", "series": 0, "lowest": "", "highest": ""}}
    assert "no data" in list(report(answer(rules=[no_data])))[2].plain
    broken = rule | {"health": "err", "error": "no such function"}
    assert "it cannot be evaluated: no such function" in list(report(answer(rules=[broken])))[1].plain


def test_an_alert_that_nobody_knows() -> None:
    assert "do you mean ServiceDown or Down?" in unknown(answer(near_names=["ServiceDown", "Down"]), [])
    assert "with instance=a was seen in the last 1d1h; --since" in unknown(answer(), ["instance=a"])
