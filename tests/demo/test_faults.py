"""What `--faults` says, and that every fault promises an alert that there is."""

import pytest

from otero.demo.faults import FAULTS, GATEWAY, ORDERS, USERS, Active, chosen, parse
from otero.demo.layout import STACK
from otero.errors import BadInput, NotFound
from otero.rules.config import load_rule_files


def test_names_with_commas_and_services() -> None:
    assert parse("none") == parse("") == ((), False)
    assert parse("latency, errors:gateway,latency") == (
        (Active(USERS, "latency"), Active(GATEWAY, "errors")),
        False,
    )
    faults, in_turn = parse("all")
    assert in_turn
    assert [fault.name for fault in faults] == list(FAULTS)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("lag", NotFound, 'there is no fault "lag"; there are latency, errors'),
        ("latency,", NotFound, 'there is no fault ""'),
        ("database:users", BadInput, 'not one of a service "users"; it is one of orders'),
        ("errors:", BadInput, 'not one of a service ""'),
    ],
)
def test_what_there_is_not_is_named(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse(text)


def test_a_fault_is_of_its_usual_service_unless_told() -> None:
    assert chosen("deploy") == Active(ORDERS, "deploy")
    assert chosen("down", "users").fault.alert == "ServiceDown"


def test_every_fault_promises_an_alert_that_there_is() -> None:
    [file] = load_rule_files([str(STACK / "rules.yml")], frozenset())
    names = {rule.alert for group in file.content.groups for rule in group.rules if rule.alert}
    assert {fault.alert for fault in FAULTS.values()} <= names
