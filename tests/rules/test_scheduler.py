"""The scheduler under a clock that its own sleeping turns."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from otero.model.alerts import Alert
from otero.rules.config import LoadedFile, Rule, RuleFile, RuleGroup
from otero.rules.group import Surroundings
from otero.rules.metrics import RuleCollector
from otero.rules.scheduler import Scheduler, following
from tests.rules.memory import START_MS, MemoryStore

MINUTE = 60_000


@pytest.mark.parametrize(
    ("now_ms", "wanted"),
    [
        (1000, (2000, 0)),
        (1999, (2000, 0)),
        (2000, (2000, 0)),
        (2500, (2000, 0)),  # late, but none was missed
        (3000, (3000, 1)),
        (5999, (5000, 3)),
    ],
)
def test_the_time_that_follows(now_ms: int, wanted: tuple[int, int]) -> None:
    assert following(1000, 1000, now_ms) == wanted


class Turning:
    """Sleeping turns the clock to the earliest wake-up; `until` ends the test when the clock is there."""

    def __init__(self, store: MemoryStore, until_ms: int) -> None:
        self.clock = store.clock
        self.until_ms = until_ms
        self.done = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        wake_ms = self.clock.now_ms() + round(seconds * 1000)
        if wake_ms > self.until_ms:
            self.done.set()
            await asyncio.Event().wait()
        self.clock.advance(max(wake_ms - self.clock.now_ms(), 0))


def loaded(*rules: Rule, name: str = "g") -> LoadedFile:
    return LoadedFile("r.yml", RuleFile(groups=(RuleGroup(name=name, rules=rules),)))


async def test_groups_run_at_their_interval_restore_and_end_their_series() -> None:
    store = MemoryStore()
    told: list[Alert] = []

    def on_alerts(alerts: Sequence[Alert]) -> None:
        told.extend(alerts)

    turning = Turning(store, START_MS + 5 * MINUTE)
    scheduler = Scheduler(store.queries, store, store.intake, store.clock, on_alerts, sleep=turning.sleep)
    rules = (Rule(record="one", expr="vector(1)"), Rule(alert="Always", expr="vector(1)"))
    await scheduler.apply([loaded(*rules)], Surroundings())
    await turning.done.wait()
    [group] = scheduler.groups
    assert group.is_restored
    assert (group.last.iterations, group.last.missed) == (5, 0)
    first = group.last.time_ms - 4 * MINUTE
    assert START_MS < first <= START_MS + MINUTE
    assert [bool(store.at("one", first + n * MINUTE)) for n in range(5)] == [True] * 5
    assert [bool(store.at("ALERTS", first + n * MINUTE)) for n in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert len(told) == 3  # every second evaluation: the delay of a minute must have passed
    assert [alert.labels["alertname"] for alert in scheduler.alerts()] == ["Always"]

    same = scheduler.groups
    await scheduler.apply([loaded(*rules)], Surroundings())
    assert scheduler.groups == same
    store.clock.advance(1000)
    await scheduler.apply([], Surroundings())
    assert store.at("one", store.clock.now_ms()) == {"": None}
    assert scheduler.groups == []
    await scheduler.stop()


async def test_missed_evaluations_are_counted() -> None:
    store = MemoryStore()
    turning = Turning(store, START_MS + 10 * MINUTE)
    slow = iter([150_000])

    def on_alerts(_alerts: Sequence[Alert]) -> None:
        store.clock.advance(next(slow, 0))

    scheduler = Scheduler(store.queries, store, store.intake, store.clock, on_alerts, sleep=turning.sleep)
    await scheduler.apply([loaded(Rule(alert="A", expr="vector(1)"))], Surroundings())
    await turning.done.wait()
    [group] = scheduler.groups
    assert group.last.missed == 1
    assert group.last.iterations == 10
    families = {family.name: family for family in RuleCollector(lambda: scheduler.groups).collect()}
    [missed] = families["prometheus_rule_group_iterations_missed"].samples
    assert (missed.name, missed.labels, missed.value) == (
        "prometheus_rule_group_iterations_missed_total", {"rule_group": "r.yml;g"}, 1.0,
    )  # fmt: skip
    await scheduler.stop()


async def test_those_who_listen_cannot_stop_the_rules() -> None:
    store = MemoryStore()
    turning = Turning(store, START_MS + 3 * MINUTE)

    def on_alerts(_alerts: Sequence[Alert]) -> None:
        raise RuntimeError("no one is at home")

    scheduler = Scheduler(store.queries, store, store.intake, store.clock, on_alerts, sleep=turning.sleep)
    await scheduler.apply([loaded(Rule(alert="A", expr="vector(1)"))], Surroundings())
    await turning.done.wait()
    assert scheduler.groups[0].last.iterations == 3
    await scheduler.stop()


def test_rule_files_load_once_and_all_or_nothing(tmp_path: Path) -> None:
    from otero.config import load
    from otero.errors import BadConfig

    (tmp_path / "rules").mkdir()
    good = "groups: [{name: g, rules: [{record: r, expr: up}]}]\n"
    (tmp_path / "rules" / "a.yml").write_text(good)
    (tmp_path / "rules" / "b.yml").write_text(good)
    (tmp_path / "p.yml").write_text("rule_files: [rules/*.yml, ./rules/../rules/a.yml, absent.yml]\n")
    config = load(prometheus=tmp_path / "p.yml", rules=[tmp_path / "rules" / "b.yml"])
    assert [file.path for file in config.rule_files] == [
        str(tmp_path / "rules" / name) for name in ("a.yml", "b.yml")
    ]
    assert any("absent.yml" in warning.message for warning in config.warnings)

    (tmp_path / "rules" / "b.yml").write_text("groups:\n- name: g\n  rules:\n  - {record: r, expr: 'up +'}\n")
    (tmp_path / "rules" / "c.yml").write_text(
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up, fr: 1m}\n"
    )
    with pytest.raises(BadConfig) as caught:
        load(prometheus=tmp_path / "p.yml")
    texts = [str(problem) for problem in caught.value.problems]
    assert len(texts) == 2
    assert "rules/b.yml:4: groups[0].rules[0].expr: could not parse expression" in texts[0]
    assert "rules/c.yml:4: groups[0].rules[0].fr: unknown field" in texts[1]
    with pytest.raises(BadConfig, match=r"absent\.yml"):
        load(rules=[tmp_path / "absent.yml"])
