"""The tree of routes: what is inherited, what is taken, keys; beside amtool on random trees."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otero.alerting.inhibit_rule import InhibitRule, InhibitRuleConfig, InhibitSource, build_inhibit_rules
from otero.alerting.matchers import parse_matchers
from otero.alerting.route import ALL, Route, RouteConfig, build_route, group_key, group_labels
from otero.errors import BadConfig, BadField
from otero.source import Reader, parse_yaml


def tree(text: str) -> Route:
    config = Reader().require(parse_yaml(text), RouteConfig)
    config.check_root()
    return build_route(config)


TREE = """
receiver: default
group_by: [alertname, cluster]
group_wait: 10s
routes:
  - matchers: ['severity="page"', 'team=~"a|b"']
    receiver: pager
    group_by: ['...']
    repeat_interval: 1h
    mute_time_intervals: [weekend]
    routes:
      - match: {team: a}
        group_by: [alertname]
      - match_re: {team: b.*}
        continue: true
      - {}
  - match: {severity: warn}
    continue: true
    receiver: chat
  - match: {severity: warn}
    active_time_intervals: [office]
"""


def test_children_take_what_they_do_not_say_from_above_but_for_time_intervals() -> None:
    root = tree(TREE)
    pager, chat, warn = root.routes
    a, b, rest = pager.routes
    assert (root.receiver, root.group_by, root.group_wait_ms) == ("default", ("alertname", "cluster"), 10_000)
    assert (root.group_interval_ms, root.repeat_interval_ms) == (300_000, 14_400_000)
    assert (pager.receiver, pager.group_by, pager.repeat_interval_ms) == ("pager", ALL, 3_600_000)
    assert (a.receiver, a.group_by, a.group_wait_ms) == ("pager", ("alertname",), 10_000)
    assert (rest.group_by, rest.repeat_interval_ms) == (ALL, 3_600_000)
    assert pager.mute_time_intervals == ("weekend",)
    assert a.mute_time_intervals == ()
    assert (chat.receiver, warn.receiver, warn.group_by) == ("chat", "default", ("alertname", "cluster"))
    assert warn.active_time_intervals == ("office",)
    assert b.continue_


def test_keys_and_ids() -> None:
    root = tree(TREE)
    page = '{}/{severity="page",team=~"a|b"}'
    assert [route.key for route in root.walk()] == [
        "{}",
        page,
        f'{page}/{{team="a"}}',
        f'{page}/{{team=~"^(?:b.*)$"}}',
        f"{page}/{{}}",
        '{}/{severity="warn"}',
        '{}/{severity="warn"}',
    ]
    ids = [route.id for route in root.walk()]
    assert ids[:3] == ["{}", f"{page}/0", f'{page}/0/{{team="a"}}/0']
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({}, ["default"]),
        ({"severity": "page"}, ["default"]),
        ({"severity": "page", "team": "a"}, ["pager"]),
        ({"severity": "page", "team": "b"}, ["pager", "pager"]),
        ({"severity": "warn"}, ["chat", "default"]),
    ],
)
def test_which_routes_an_alert_takes(labels: dict[str, str], receivers: list[str]) -> None:
    assert [route.receiver for route in tree(TREE).match(labels)] == receivers


def test_groups_and_their_keys() -> None:
    root = tree(TREE)
    labels = {"alertname": 'Down "now"', "job": "api", "severity": "page", "team": "c"}
    (taken,) = root.match(labels)
    assert group_labels(taken, labels) == {"alertname": 'Down "now"'}
    assert group_key(taken, group_labels(taken, labels)) == '{}:{alertname="Down \\"now\\""}'
    (taken,) = root.match(labels | {"team": "a"})
    assert group_key(taken, group_labels(taken, labels)).endswith('/{team="a"}:{alertname="Down \\"now\\""}')
    all_labels = root.routes[0].routes[2]
    assert group_labels(all_labels, labels) == labels
    assert group_key(root, {"b": "ü\n", "a": "1"}) == '{}:{a="1", b="ü\\n"}'
    assert group_key(root, {}) == "{}:{}"


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("{}", "root route must specify a default receiver"),
        ("{receiver: a, match: {a: b}}", "root route must not have any matchers"),
        ("{receiver: a, match_re: {a: b}}", "root route must not have any matchers"),
        ("{receiver: a, matchers: [a=b]}", "root route must not have any matchers"),
        ("{receiver: a, mute_time_intervals: [x]}", "root route must not have any mute time intervals"),
        ("{receiver: a, active_time_intervals: [x]}", "root route must not have any active time intervals"),
        ("{receiver: a, continue: true}", "cannot have continue in root route"),
    ],
)
def test_the_root_takes_every_alert(route: str, problem: str) -> None:
    config = Reader().require(parse_yaml(route), RouteConfig)
    with pytest.raises(BadField, match=problem):
        config.check_root()


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("group_by: ['...', alertname]", "group_by: cannot have wildcard group_by"),
        ("group_by: [a, b, a]", 'group_by[2]: duplicated label "a" in group_by'),
        ("group_by: ['']", 'group_by[0]: invalid label name "" in group_by list'),
        ("group_interval: 0s", "group_interval: group_interval cannot be zero"),
        ("repeat_interval: 0s", "repeat_interval: repeat_interval cannot be zero"),
        ("group_wait: 5 minutes", "group_wait: not a valid duration"),
        ("match: {my-label: x}", 'match.my-label: invalid label name "my-label"'),
        ("match_re: {a: '*'}", "match_re.a: invalid regular expression"),
        ("match_re: {a: }", 'match_re.a: invalid regexp value for "a"'),
        ("match_re: {my-label: x}", "invalid label name"),
        ("matchers: ['a=~(']", "matchers[0]: invalid regular expression"),
        ("matchers: [a=b, 'severity ~ x']", "matchers[1]: bad matcher format: severity ~ x (column 10"),
        ("matchers: a=b", "matchers: expected a list"),
        ("routes: [{continue: maybe}]", "routes[0].continue: expected true or false"),
        ("routes: [{reciever: x}]", 'did you mean "receiver"?'),
        ("routes: [null]", "routes[0]: empty or null section"),
    ],
)
def test_what_no_route_can_say(route: str, problem: str) -> None:
    with pytest.raises(BadConfig) as refused:
        Reader().require(parse_yaml(route), RouteConfig)
    assert problem in str(refused.value)


def test_inhibition_rules_of_all_ages() -> None:
    old = "{source_match: {severity: critical}, target_match_re: {severity: warn.*}, equal: [alertname, my.label]}"
    new = """{name: x, source_matchers: ['severity="critical"', 'a="b"'], target_matchers: ['{b!="",a=~"c"}']}"""
    configs = Reader().require(parse_yaml(f"[{old}, {new}]"), tuple[InhibitRuleConfig, ...])
    assert build_inhibit_rules(configs) == (
        InhibitRule(
            (InhibitSource(parse_matchers('severity="critical"').matchers, ("alertname", "my.label")),),
            parse_matchers('severity=~"^(?:warn.*)$"').matchers,
        ),
        InhibitRule(
            (InhibitSource(parse_matchers('a="b",severity="critical"').matchers),),
            parse_matchers('a=~"c",b!=""').matchers,
            name="x",
        ),
    )


def test_a_rule_with_several_sources() -> None:
    text = "[{sources: [{matchers: ['a=\"b\"'], equal: [x]}, {matchers: [c=d]}], target_matchers: [e=f]}]"
    configs = Reader().require(parse_yaml(text), tuple[InhibitRuleConfig, ...])
    [rule] = build_inhibit_rules(configs)
    assert rule.sources == (
        InhibitSource(parse_matchers("a=b").matchers, ("x",)),
        InhibitSource(parse_matchers("c=d").matchers),
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("equal: ['']", 'invalid label name "" in equal list'),
        ("source_match_re: {a: }", 'invalid regexp value for "a"'),
        ("target_match_re: {a: }", 'invalid regexp value for "a"'),
        ("source_match: {a-b: c}", 'invalid label name "a-b"'),
        ("target_matchers: ['a']", "target_matchers[0]: bad matcher format: a"),
        ("{sources: [{matchers: [a=b]}], equal: [a]}", "sources cannot be combined"),
        ("{sources: [{matchers: [a=b]}, {}]}", "sources[1].matchers: matchers must not be empty"),
        ("{sources: [{matchers: ['a=']}]}", "at least one matcher must not match the empty value"),
    ],
)
def test_what_no_inhibition_rule_can_say(rule: str, problem: str) -> None:
    with pytest.raises(BadConfig) as refused:
        Reader().require(parse_yaml(rule), InhibitRuleConfig)
    assert problem in str(refused.value)


LABELS = ["a", "b"]
VALUES = ["x", "y", ""]
LINES = st.builds(
    "{}{}{}".format,
    st.sampled_from(LABELS),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(['"x"', '"y"', '""', "x", '"x|y"', '".+"', '"x,y"']),
)
ROUTES: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "receiver": st.sampled_from(["r1", "r2", "r3", "r4"]),
            "match": st.dictionaries(st.sampled_from(LABELS), st.sampled_from(VALUES), max_size=1),
            "match_re": st.dictionaries(
                st.sampled_from(LABELS), st.sampled_from(["x|y", ".*", "x"]), max_size=1
            ),
            "matchers": st.lists(LINES, max_size=2),
            "continue": st.booleans(),
            "routes": st.lists(ROUTES, max_size=3),
        },
    )
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    routes=st.lists(ROUTES, min_size=1, max_size=4),
    labels=st.dictionaries(st.sampled_from(LABELS), st.sampled_from(["x", "y"])),
)
def test_amtool_routes_alike(routes: list[dict[str, Any]], labels: dict[str, str], tmp_path: Path) -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    root = {"receiver": "root", "routes": routes}
    receivers = [{"name": name} for name in ("root", "r1", "r2", "r3", "r4")]
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump({"route": root, "receivers": receivers}))
    said = subprocess.run(
        [
            amtool,
            "config",
            "routes",
            "test",
            f"--config.file={file}",
            *(f"{k}={v}" for k, v in labels.items()),
        ],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    assert (
        ",".join(route.receiver for route in tree(yaml.safe_dump(root)).match(labels)) == said.stdout.strip()
    )
    shown = subprocess.run(
        [amtool, "config", "routes", "show", f"--config.file={file}"],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    keys = [route.key.rsplit("/", 1)[-1] for route in tree(yaml.safe_dump(root)).walk()]
    lines = [line.split("── ")[1].split("  ")[0] for line in shown.stdout.splitlines() if "── " in line]
    assert ["default-route" if key == "{}" else key for key in keys] == lines
