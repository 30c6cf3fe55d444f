"""Inhibition, beside its rule written down as a loop over everything."""

from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.inhibit import Inhibitor
from otero.alerting.inhibit_rule import InhibitRule, InhibitSource
from otero.alerting.matchers import matches, parse_matchers
from otero.model.alerts import Alert

NOW = 1_000_000


def rule(source: str, target: str, *equal: str) -> InhibitRule:
    return InhibitRule(
        (InhibitSource(parse_matchers(source).matchers, equal),), parse_matchers(target).matchers
    )


def alert(ends_ms: int = NOW * 2, **labels: str) -> Alert:
    return Alert(dict(sorted(labels.items())), {}, NOW - 5, ends_ms)


def inhibitor(rules: list[InhibitRule], *alerts: Alert) -> Inhibitor:
    made = Inhibitor(rules)
    for one in alerts:
        made.update(one.fingerprint, one, NOW)
    return made


def test_equal_labels_and_the_end_of_the_source() -> None:
    source = alert(ends_ms=NOW + 10, alertname="NodeDown", node="a")
    made = inhibitor([rule("alertname=NodeDown", "severity=warning", "node")], source)
    assert made.inhibiting({"severity": "warning", "node": "a"}, NOW) == [source.fingerprint]
    assert made.inhibiting({"severity": "warning", "node": "b"}, NOW) == []
    assert made.inhibiting({"severity": "warning"}, NOW) == []
    assert made.inhibiting({"severity": "page", "node": "a"}, NOW) == []
    assert made.inhibiting({"severity": "warning", "node": "a"}, NOW + 10) == []


def test_labels_that_both_lack_are_equal() -> None:
    made = inhibitor([rule("a=1", "b=1", "node")], alert(a="1"))
    assert made.inhibiting({"b": "1"}, NOW)


def test_no_alert_inhibits_itself_nor_its_like() -> None:
    both = alert(a="1", b="1", name="both")
    made = inhibitor([rule("a=1", "b=1")], both)
    assert made.inhibiting(both.labels, NOW) == []
    assert made.inhibiting({"a": "1", "b": "1", "name": "other"}, NOW) == []
    assert made.inhibiting({"b": "1"}, NOW) == [both.fingerprint]


def test_each_of_several_sources_must_have_its_alert() -> None:
    conditions = [parse_matchers(text).matchers for text in ("job=parser", "job=writer", "severity=info")]
    sources = (InhibitSource(conditions[0], ("cluster",)), InhibitSource(conditions[1]))
    parser, writer = alert(job="parser", cluster="a"), alert(job="writer", cluster="b", ends_ms=NOW + 10)
    made = inhibitor([InhibitRule(sources, conditions[2])], parser)
    target = {"severity": "info", "cluster": "a"}
    assert made.inhibiting(target, NOW) == [], "nothing fires for the second source"
    made.update(writer.fingerprint, writer, NOW)
    assert made.inhibiting(target, NOW) == [parser.fingerprint, writer.fingerprint]
    assert made.inhibiting({**target, "cluster": "b"}, NOW) == [], "the first source has its own equal labels"
    assert made.inhibiting(target, NOW + 10) == [], "one of the two has ended"


matcher = st.sampled_from(["a=1", "a=2", "b=1", 'b=~"1|2"', "a!=1", 'b=""'])
labels = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from("12") for name in ("a", "b", "c")} | {"name": st.sampled_from("xyz")}
)


@given(
    st.lists(st.tuples(matcher, matcher, st.sets(st.sampled_from("abc"), max_size=2)), max_size=4),
    st.lists(st.tuples(labels, st.booleans()), max_size=8),
    labels,
    st.integers(0, 1),
)
def test_as_the_rule_says(
    rules: list[tuple[str, str, set[str]]],
    updates: list[tuple[dict[str, str], bool]],
    target: dict[str, str],
    later: int,
) -> None:
    made = [rule(source, aim, *equal) for source, aim, equal in rules]
    known: dict[int, Alert] = {}
    inhibits = Inhibitor(made)
    for own, fires in updates:
        one = alert(ends_ms=NOW + 1 if fires else NOW, **own)
        known[one.fingerprint] = one
        inhibits.update(one.fingerprint, one, NOW)
    now_ms = NOW + later
    wanted = [
        {
            number
            for number, one in known.items()
            if not one.resolved_at(now_ms)
            and matches(each.sources[0].matchers, one.labels)
            and all(one.labels.get(name, "") == target.get(name, "") for name in each.sources[0].equal)
            and not (matches(each.sources[0].matchers, target) and matches(each.target_matchers, one.labels))
        }
        for each in made
        if matches(each.target_matchers, target)
    ]
    found = inhibits.inhibiting(target, now_ms)
    assert set(found) <= set().union(*wanted)
    assert all(set(found) & sources for sources in wanted if sources)
