"""Groups over a store in memory: order, series and their ends, errors, what is kept through a reload and a restart."""

import numpy as np

from otero.fields import Duration
from otero.model.alerts import Alert
from otero.model.histograms import box
from otero.model.labels import LabelBytes, encode_labels
from otero.model.matchers import Matcher, MatchOp
from otero.model.metrics import MetricBatch
from otero.rules.alert_rule import AlertingRule
from otero.rules.alerting import State
from otero.rules.config import Rule, RuleGroup
from otero.rules.group import Group, Surroundings
from otero.rules.recording import RecordingRule
from otero.rules.scheduler import last_states
from otero.rules.stages import stages
from tests import histogram_samples as histograms
from tests.rules.memory import START_MS, MemoryStore

T = START_MS
MINUTE = 60_000


def group(
    store: MemoryStore,
    *rules: Rule,
    restored: bool = True,
    around: Surroundings | None = None,
    **more: object,
) -> Group:
    config = RuleGroup(name="g", rules=rules, **more)  # pyright: ignore[reportArgumentType]
    return Group("r.yml", config, around or Surroundings(), store.clock, is_restored=restored)


def up(instance: str, value: float) -> tuple[dict[str, str], float]:
    return {"__name__": "up", "instance": instance}, value


def run(one: Group, store: MemoryStore, time_ms: int) -> list[Alert]:
    store.clock.advance(max(time_ms - store.clock.now_ms(), 0))
    return one.evaluate(time_ms, store.queries, store.intake)


def alerting(one: Group, at: int = 0) -> AlertingRule:
    rule = one.rules[at]
    assert isinstance(rule, AlertingRule)
    return rule


def test_dependent_rules_see_what_earlier_ones_wrote_and_the_order_is_that_of_the_file() -> None:
    store = MemoryStore()
    store.give(T, up("a", 1), up("b", 0))
    one = group(
        store,
        Rule(record="late:reads_the_future", expr="job:up:sum or vector(-1)"),
        Rule(record="job:up:sum", expr="sum(up)", labels={"team": "x"}),
        Rule(record="job:up:twice", expr='job:up:sum{team="x"} * 2'),
        Rule(alert="Low", expr="job:up:twice < 3", labels={"severity": "page"}),
        Rule(record="alerts:count", expr='count(ALERTS{alertname="Low"})'),
    )
    assert len(run(one, store, T)) == 1
    assert store.at("late:reads_the_future", T) == {"": -1.0}
    assert store.at("job:up:sum", T) == {"team=x": 1.0}
    assert store.at("job:up:twice", T) == {"team=x": 2.0}
    assert store.at("alerts:count", T) == {"": 1.0}
    assert [rule.health.state for rule in one.rules] == ["ok"] * 5
    assert (one.last.samples, one.last.failures) == (6, 0)


def test_independent_rules_share_a_stage_and_a_write() -> None:
    store = MemoryStore()
    rules = [Rule(record=f"r:{n}", expr=f"up + {n}") for n in range(50)]
    one = group(store, *rules, Rule(record="all", expr='sum({__name__=~"r:.*"})'))
    assert stages(one.rules) == [list(range(50)), [50]]
    store.give(T, up("a", 1))
    before = store.batches
    run(one, store, T)
    assert store.batches == before + 2
    assert store.at("all", T) == {"": 50 + sum(range(50))}


def test_stages_respect_reads_before_writes_and_templates_that_ask() -> None:
    def rule(record: str, expr: str) -> RecordingRule:
        return RecordingRule(Rule(record=record, expr=expr), {}, frozenset())

    asking = AlertingRule(
        Rule(alert="A", expr="up", annotations={"x": '{{ query "a" }}'}), {}, {}, "", frozenset()
    )
    assert stages([]) == []
    assert stages([rule("b", "a"), rule("a", "up"), rule("c", "a")]) == [[0, 1], [2]]
    assert stages([rule("a", "up"), rule("b", "a"), rule("a", "down")]) == [[0], [1, 2]]
    assert stages([rule("a", "up"), asking, rule("a", "down")]) == [[0], [1, 2]]


def test_series_end_where_a_result_has_them_no_more() -> None:
    store = MemoryStore()
    one = group(
        store, Rule(record="r", expr="up == 1"), Rule(alert="A", expr="up == 0", for_=Duration(MINUTE))
    )
    store.give(T, up("a", 1), up("b", 0))
    run(one, store, T)
    store.give(T + MINUTE, up("a", 0), up("b", 0))
    run(one, store, T + MINUTE)
    assert store.at("r", T) == {"instance=a": 1.0}
    assert store.at("r", T + MINUTE) == {"instance=a": None}
    assert store.at("ALERTS", T + MINUTE) == {
        "alertname=A alertstate=pending instance=a": 1.0,
        "alertname=A alertstate=pending instance=b": None,
        "alertname=A alertstate=firing instance=b": 1.0,
    }
    assert store.at("ALERTS_FOR_STATE", T + MINUTE) == {
        "alertname=A instance=a": (T + MINUTE) // 1000,
        "alertname=A instance=b": T // 1000,
    }


def test_a_failing_rule_is_told_and_harms_no_neighbour() -> None:
    store = MemoryStore()
    store.give(T, up("a", 1), up("b", 1))
    one = group(
        store,
        Rule(record="r", expr='label_replace(up, "instance", "", "", "")'),
        Rule(record="s", expr="up"),
        Rule(record="same", expr="up", labels={"instance": ""}),
        limit=2,
    )
    run(one, store, T)
    assert [rule.health.state for rule in one.rules] == ["err", "ok", "err"]
    assert "same labelset" in one.rules[2].health.error
    assert store.at("s", T) == {"instance=a": 1.0, "instance=b": 1.0}
    assert one.last.failures == 2


def test_limits_clear_alerts_and_refuse_series() -> None:
    store = MemoryStore()
    one = group(store, Rule(alert="A", expr="up"), Rule(record="r", expr="up"), limit=1)
    store.give(T, up("a", 1))
    run(one, store, T)
    assert alerting(one).state is State.FIRING
    store.give(T + MINUTE, up("a", 1), up("b", 1))
    run(one, store, T + MINUTE)
    assert one.rules[0].health.error == "exceeded limit of 1 with 2 alerts"
    assert one.rules[1].health.error == "exceeded limit of 1 with 2 series"
    assert not alerting(one).active


def test_the_query_offset_moves_questions_and_samples() -> None:
    store = MemoryStore()
    around = Surroundings(query_offset_ms=MINUTE)
    one = group(store, Rule(record="r", expr="up"), Rule(alert="A", expr="up"), around=around)
    store.give(T, up("a", 7))
    run(one, store, T + MINUTE)
    assert store.at("r", T) == {"instance=a": 7.0}
    assert store.at("ALERTS", T) == {"alertname=A alertstate=firing instance=a": 1.0}
    [alert] = alerting(one, 1).active.values()
    assert alert.active_ms == T + MINUTE


def test_group_labels_stand_below_those_of_rules_and_alerts_carry_external_ones() -> None:
    store = MemoryStore()
    store.give(T, up("a", 1))
    around = Surroundings(external_labels={"cluster": "c"}, external_url="http://o:9090")
    rules = (Rule(alert="A", expr="up > 0", labels={"team": "own"}), Rule(record="r", expr="up"))
    [alert] = run(group(store, *rules, around=around, labels={"team": "all", "zone": "z"}), store, T)
    assert alert.labels == {"alertname": "A", "cluster": "c", "instance": "a", "team": "own", "zone": "z"}
    assert alert.generator_url == "http://o:9090/graph?g0.expr=up+%3E+0&g0.tab=1"
    assert store.at("r", T) == {"instance=a team=all zone=z": 1.0}


def test_a_changed_group_goes_on_with_the_rules_that_are_the_same() -> None:
    store = MemoryStore()
    store.give(T, up("a", 1))
    rule = Rule(alert="A", expr="up", for_=Duration(5 * MINUTE))
    old = group(store, rule, Rule(record="gone", expr="up"), Rule(record="r", expr="up"))
    run(old, store, T)
    new = group(store, Rule(record="r", expr="up"), rule, Rule(record="more", expr="up"))
    new.take_over(old)
    store.give(T + MINUTE, up("a", 1))
    run(new, store, T + MINUTE)
    [alert] = alerting(new, 1).active.values()
    assert alert.active_ms == T
    assert store.at("gone", T + MINUTE) == {"instance=a": None}
    assert store.at("r", T + MINUTE) == {"instance=a": 1.0}


def test_after_a_restart_nothing_is_written_before_the_state_is_restored() -> None:
    store = MemoryStore()
    rule = Rule(alert="A", expr="up == 0", for_=Duration(30 * MINUTE))
    before = group(store, rule)
    for minute in range(10):
        store.give(T + minute * MINUTE, up("a", 0))
        run(before, store, T + minute * MINUTE)
    after = group(store, rule, restored=False)
    for minute in (20, 21):
        store.give(T + minute * MINUTE, up("a", 0))
        run(after, store, T + minute * MINUTE)
        assert store.at("ALERTS_FOR_STATE", T + minute * MINUTE) == {}
    now = T + 21 * MINUTE

    def seen(alert: str) -> dict[LabelBytes, tuple[int, float]]:
        matchers = [
            Matcher("__name__", MatchOp.EQUAL, "ALERTS_FOR_STATE"),
            Matcher("alertname", MatchOp.EQUAL, alert),
        ]
        return last_states(
            store.select(matchers, now - 60 * MINUTE, now, store.queries.budget()), now - 60 * MINUTE, now
        )

    after.restore(now, seen)
    [alert] = alerting(after).active.values()
    assert alert.active_ms == (T // 1000) * 1000 + 12 * MINUTE  # twelve minutes were nobody's
    store.give(T + 22 * MINUTE, up("a", 0))
    run(after, store, T + 22 * MINUTE)
    assert store.at("ALERTS_FOR_STATE", T + 22 * MINUTE) == {"alertname=A instance=a": T // 1000 + 12 * 60}


def test_native_histograms_are_recorded_and_alerted_on() -> None:
    store = MemoryStore()
    histogram = histograms.one(buckets={1: 4.0}, total=5.0)
    refs = store.intake.resolve([encode_labels({"__name__": "h", "instance": "a"})], "test")
    batch = MetricBatch(refs, np.full(1, T), box(np.arange(1)), histograms=histogram)
    store.intake.write_metrics(batch, "test")
    store.give(T, up("a", 3))
    one = group(
        store,
        Rule(record="h:copy", expr="h"),
        Rule(record="f:copy", expr="up"),
        Rule(record="h:count", expr="histogram_count(h:copy)"),
        Rule(alert="A", expr="h", annotations={"value": "{{ $value }}"}),
    )
    run(one, store, T)
    assert [rule.health.error for rule in one.rules] == [""] * 4
    assert store.at("h:count", T) == {"instance=a": 4.0}
    [alert] = alerting(one, 3).active.values()
    assert alert.annotations["value"].startswith("{count:4, sum:5")
    assert alert.value == 0


def test_groups_are_spread_over_their_interval_and_stay_where_they_are() -> None:
    store = MemoryStore()
    slots = set()
    for n in range(20):
        one = Group("r.yml", RuleGroup(name=f"g{n}"), Surroundings(), store.clock)
        slot = one.slot_ms(T)
        assert T - MINUTE < slot <= T
        assert one.slot_ms(slot + MINUTE) == slot + MINUTE
        slots.add(slot)
    assert len(slots) > 15
