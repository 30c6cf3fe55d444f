"""What the ledger is told of rules: each change once, nothing at the evaluations between."""

from otero.fields import Duration
from otero.model.alerts import fingerprint
from otero.model.decisions import Decision, DecisionKind
from otero.rules.alert_rule import AlertingRule
from otero.rules.config import Rule, RuleGroup
from otero.rules.group import Group, Surroundings
from tests.rules.memory import START_MS, MemoryStore

T = START_MS
MINUTE = 60_000


class Told:
    """A group over a store in memory, and what was recorded of it."""

    def __init__(self, *rules: Rule, is_restored: bool = True, **more: object) -> None:
        self.store = MemoryStore()
        self.decisions: list[Decision] = []
        config = RuleGroup(name="g", rules=rules, **more)  # pyright: ignore[reportArgumentType]
        self.group = self.made(config, is_restored=is_restored)

    def made(self, config: RuleGroup, *, is_restored: bool = True) -> Group:
        around = Surroundings(external_labels={"cluster": "eu"})
        return Group(
            "r.yml", config, around, self.store.clock, is_restored=is_restored, record=self.decisions.append
        )

    def at(self, minute: float, *samples: tuple[str, float]) -> list[str]:
        """Evaluate at a minute with these values of `up` by instance; what was recorded by that."""
        time_ms = T + int(minute * MINUTE)
        self.store.clock.advance(max(time_ms - self.store.clock.now_ms(), 0))
        if samples:
            self.store.give(
                time_ms, *(({"__name__": "up", "instance": name}, value) for name, value in samples)
            )
        self.group.evaluate(time_ms, self.store.queries, self.store.intake)
        return self.new()

    def new(self) -> list[str]:
        found = [f"{one.kind} {one.labels.get('instance', '-')}: {one.text}" for one in self.decisions]
        self.last = list(self.decisions)
        self.decisions.clear()
        return found


def test_the_life_of_an_alert() -> None:
    told = Told(
        Rule(
            alert="Down",
            expr="up == 0",
            for_=Duration(2 * MINUTE),
            keep_firing_for=Duration(3 * MINUTE),
            labels={"severity": "page"},
        )
    )
    assert told.at(0, ("a", 1), ("b", 1)) == []
    assert told.at(1, ("a", 0)) == [
        "rule_pending a: The expression is true, value 0; it fires if that lasts for 2m."
    ]
    pending = told.last[0]
    labels = {"alertname": "Down", "cluster": "eu", "instance": "a", "severity": "page"}
    assert pending.labels == labels
    assert (pending.alertname, pending.fingerprint) == ("Down", fingerprint(labels))
    assert (pending.time_ms, pending.detail["value"]) == (T + MINUTE, "0")
    assert told.at(2, ("a", 0), ("b", 0)) == [
        "rule_pending b: The expression is true, value 0; it fires if that lasts for 2m."
    ]
    assert told.at(3, ("a", 0), ("b", 1)) == [
        "rule_firing a: The expression is true for 2m, value 0: it fires.",
        "rule_forgotten b: The expression is no longer true (false, or no data) after 1m of 2m: it does not fire.",
    ]
    assert told.at(4, ("a", 0)) == []
    assert told.at(5, ("a", 1)) == [
        "rule_kept_firing a: The expression is no longer true (false, or no data); `keep_firing_for` lets it fire on"
        " for 3m."
    ]
    assert told.at(6, ("a", 1)) == []
    assert told.at(6.5, ("a", 0)) == ["rule_firing a: The expression is true again, value 0: it fires on."]
    assert len(told.at(7, ("a", 1))) == 1
    assert told.at(9, ("a", 1)) == []
    assert told.at(10, ("a", 1)) == [
        "rule_resolved a: The expression is no longer true (false, or no data) since 2023-11-14 22:20:20 UTC: it ends,"
        " having fired for 7m."
    ]
    assert told.at(11) == []
    assert told.at(60) == [], "that it is known no more is no news"


def test_without_for_it_fires_at_once() -> None:
    told = Told(Rule(alert="Down", expr="up == 0"))
    assert told.at(0, ("a", 0)) == [
        "rule_firing a: The expression is true and no `for` is given, value 0: it fires."
    ]


def test_a_template_that_fails_is_told_once_until_it_fails_otherwise() -> None:
    told = Told(Rule(alert="Down", expr="up < 5", annotations={"summary": "{{ index .Labels 1 $value }}"}))
    first = told.at(0, ("a", 0))
    assert [text.split(":")[0] for text in first] == ["rule_firing a", "template_failed a"]
    assert "The template of annotation summary failed: error executing template" in first[1]
    assert told.at(1, ("a", 0)) == []
    told.group = told.made(
        RuleGroup(
            name="g", rules=(Rule(alert="Down", expr="up < 5", annotations={"s": "{{ template `x` }}"}),)
        )
    )
    assert [text.split(":")[0] for text in told.at(2, ("a", 0))] == ["rule_firing a", "template_failed a"]


def test_a_rule_that_fails_is_told_once_and_when_it_works_again() -> None:
    told = Told(Rule(alert="Many", expr="up * on (job) group_left (x) up"))
    assert told.at(0, ("a", 0), ("b", 1))[0].startswith("rule_failed -: The rule cannot be evaluated: ")
    assert told.last[0].fingerprint == 0
    assert told.at(1) == []
    assert told.at(20, ("a", 1)) == [
        "rule_recovered -: The rule can be evaluated again.",
        "rule_firing a: The expression is true and no `for` is given, value 1: it fires.",
    ]


def test_alerts_that_a_limit_takes_away_are_told() -> None:
    told = Told(Rule(alert="Down", expr="up == 0"), limit=1)
    told.at(0, ("a", 0))
    assert told.at(1, ("a", 0), ("b", 0)) == [
        "rule_forgotten a: The rule starts from no alerts: exceeded limit of 1 with 2 alerts.",
        "rule_failed -: The rule cannot be evaluated: exceeded limit of 1 with 2 alerts",
    ]


def test_alerts_of_rules_that_a_reload_takes_away_are_told() -> None:
    told = Told(Rule(alert="Down", expr="up == 0"), Rule(alert="Off", expr="up == 0", for_=Duration(MINUTE)))
    told.at(0, ("a", 0))
    after = told.made(RuleGroup(name="g", rules=(Rule(alert="Off", expr="up == 0"),)))
    after.take_over(told.group)
    assert told.new() == ["rule_forgotten a: Its rule is no longer configured."]
    assert told.last[0].alertname == "Down"
    after.removed()
    assert [one.alertname for one in told.decisions] == ["Off"]


def test_what_goes_on_after_a_restart_is_told() -> None:
    told = Told(Rule(alert="Down", expr="up == 0", for_=Duration(30 * MINUTE)), is_restored=False)
    assert len(told.at(20, ("a", 0), ("b", 0))) == 2
    assert told.at(21, ("a", 0), ("b", 0)) == []
    rule = told.group.rules[0]
    assert isinstance(rule, AlertingRule)
    keys = {alert.labels["instance"]: key for key, alert in rule.active.items()}
    down_ms, now_ms = T + 19 * MINUTE, T + 21 * MINUTE
    seen = {keys["a"]: (down_ms, (T - 60 * MINUTE) / 1000), keys["b"]: (down_ms, (T + 4 * MINUTE) / 1000)}
    told.group.restore(now_ms, lambda _alert: seen)
    assert told.new() == [
        "rule_pending a: Goes on after a restart: true since 2023-11-14 21:13:20 UTC, fires again now.",
        "rule_pending b: Goes on after a restart: true since 2023-11-14 22:19:20 UTC, fires in 15m if it stays true.",
    ]
    assert [text.split(":")[0] for text in told.at(22, ("a", 0), ("b", 0))] == ["rule_firing a"]
    assert {one.kind for one in told.last} == {DecisionKind.RULE_FIRING}
