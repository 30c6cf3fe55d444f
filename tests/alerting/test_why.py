"""Stories: which decisions concern an instance, and what is concluded from them."""

from typing import Any

import pytest

from otero.alerting.why import Outcome, Story, about_rule, conclusion, stories
from otero.model.decisions import Decision, DecisionKind

K = DecisionKind
KEY = '{}/{severity="page"}:{alertname="Down"}'
T = 1_700_000_000_000


class Log:
    """Decisions, a second apart."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def own(self, kind: K, number: int = 1, text: str = "Because.", **more: Any) -> "Log":
        labels = {"alertname": "Down", "instance": str(number)}
        return self._add(kind, fingerprint=number, labels=labels, text=text, **more)

    def routed(self, number: int = 1, receiver: str = "page", key: str = KEY) -> "Log":
        return self.own(K.ROUTED, number, group_key=key, receiver=receiver)

    def group(
        self, kind: K, integration: str = "", text: str = "Because.", *, receiver: str = "page", **detail: Any
    ) -> "Log":
        return self._add(
            kind, group_key=KEY, receiver=receiver, integration=integration, text=text, detail=detail
        )

    def delivered(self, integration: str, *alerts: int, receiver: str = "page") -> "Log":
        named = [f"{number:016x}" for number in alerts]
        return self.group(
            K.DELIVERED, integration, receiver=receiver, alerts=named, firing=len(alerts), resolved=0
        )

    def _add(self, kind: K, **fields: Any) -> "Log":
        self.decisions.append(Decision(T + 1000 * len(self.decisions), kind, "Down", **fields))
        return self

    def story(self, number: int = 1) -> Story:
        return next(story for story in stories(self.decisions) if story.fingerprint == number)

    def kinds(self, number: int = 1) -> list[str]:
        return [str(one.kind) for one in self.story(number).decisions]

    def outcome(self, state: str = "firing", **integrations: list[str]) -> Outcome:
        return conclusion(self.story(), state=state, integrations=integrations or {"page": ["email[0]"]})


def fired(number: int = 1) -> Log:
    return Log().own(K.RULE_PENDING, number).own(K.RULE_FIRING, number).own(K.RECEIVED, number)


def test_what_was_told_and_is_held_back_since_says_both() -> None:
    log = fired().routed().delivered("email[0]", 1).own(K.SILENCED, text="Held back by silence 1 of ann.")
    assert log.outcome().text == (
        "Told: page by email[0] at 2023-11-14 22:13:24 UTC. Now held back by silence 1 of ann."
    )


def test_a_groups_decisions_are_told_to_those_who_are_in_it() -> None:
    log = fired(1).routed(1).own(K.RULE_FIRING, 2).routed(2, "other", "{}:{}")
    log.delivered("email[0]", 1).group(K.GIVEN_UP, "slack[0]")
    assert log.kinds(1)[-3:] == ["routed", "delivered", "given_up"]
    assert log.kinds(2) == ["rule_firing", "routed"]


def test_who_joined_later_is_told_what_concerns_it() -> None:
    log = fired(1).routed(1).delivered("email[0]", 1)
    log.own(K.RULE_FIRING, 2).routed(2).delivered("email[0]", 2).group(K.DEDUPLICATED, "email[0]")
    assert log.kinds(1)[-3:] == ["routed", "delivered", "deduplicated"]
    assert log.kinds(2) == ["rule_firing", "routed", "delivered", "deduplicated"]


def test_a_new_group_is_announced_before_its_first_alert_and_told_after_it() -> None:
    log = fired(1)
    waiting = Decision(T + 9_000, K.WAITING, "Down", group_key=KEY, receiver="page")
    routed = Decision(T + 9_000, K.ROUTED, "Down", 1, group_key=KEY, receiver="page")
    log.decisions += [waiting, routed]
    assert log.kinds()[-2:] == ["routed", "waiting"]


def test_who_has_ended_and_is_told_hears_nothing_more_of_the_group_until_it_fires_again() -> None:
    log = fired(1).routed(1).delivered("email[0]", 1).own(K.RULE_RESOLVED).own(K.RESOLVED)
    log.group(K.ATTEMPT_FAILED, "email[0]").group(K.DEDUPLICATED, "email[0]", reason="send_resolved")
    before = log.kinds()
    log.group(K.ATTEMPT_FAILED, "email[0]").group(K.MUTED_BY_TIME)
    assert log.kinds() == before
    assert before[-2:] == ["attempt_failed", "deduplicated"]
    log.own(K.RECEIVED).group(K.ATTEMPT_FAILED, "email[0]")
    assert log.kinds()[-2:] == ["received", "attempt_failed"]


def test_what_concerns_the_rule_is_in_no_story() -> None:
    log = fired(1)._add(K.RULE_FAILED)
    assert [one.kind for one in about_rule(log.decisions)] == [K.RULE_FAILED]
    assert log.kinds() == ["rule_pending", "rule_firing", "received"]


def test_stories_end_with_the_latest() -> None:
    log = fired(2).own(K.RULE_FIRING, 3).own(K.RULE_RESOLVED, 2)
    assert [story.fingerprint for story in stories(log.decisions)] == [3, 2]


def test_who_was_told_and_who_was_not() -> None:
    log = fired().routed().delivered("email[0]", 1)
    assert log.outcome().text == "Told: page by email[0] at 2023-11-14 22:13:24 UTC."
    log.group(K.ATTEMPT_FAILED, "slack[0]", "Attempt 1 failed: the answer was 500.")
    outcome = log.outcome(page=["email[0]", "slack[0]", "webhook[0]"])
    assert outcome.told == ["page by email[0] at 2023-11-14 22:13:24 UTC"]
    assert outcome.not_told == [
        "page by slack[0]: attempt 1 failed: the answer was 500",
        "page by webhook[0]: nothing was sent yet",
    ]
    assert "Nobody" not in outcome.text
    assert "Not told: page by slack[0]: " in outcome.text


def test_what_was_told_before_it_ended_and_fired_again_does_not_count() -> None:
    log = fired().routed().delivered("email[0]", 1).own(K.RULE_RESOLVED).own(K.RESOLVED)
    log.own(K.RULE_FIRING).own(K.RECEIVED).group(K.GIVEN_UP, "email[0]", "Given up: no route to host.")
    assert log.outcome().text == "Nobody was told: page by email[0]: given up: no route to host."


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (fired().routed().own(K.SILENCED, text="Held back by silence x."), "held back by silence x"),
        (fired().routed().own(K.INHIBITED, text="Held back: inhibited by Y."), "held back: inhibited by Y"),
        (fired().routed().group(K.MUTED_BY_TIME, text="Held back: it is night."), "held back: it is night"),
        (fired().routed().own(K.SILENCED).own(K.UNSILENCED), "nothing was sent yet"),
        (fired().routed().group(K.MUTED_BY_TIME).group(K.ACTIVE_AGAIN), "nothing was sent yet"),
        (
            fired().routed().group(K.DEDUPLICATED, "email[0]", "Nothing to tell: it ended."),
            "nothing to tell: it ended",
        ),
    ],
)
def test_why_it_was_held_back(log: Log, text: str) -> None:
    assert log.outcome().text == f"Nobody was told: page by email[0]: {text}."


def test_a_receiver_without_integrations_tells_nobody() -> None:
    assert fired().routed().outcome(page=[]).text == (
        'Nobody was told: the receiver "page" has no integrations.'
    )


def test_what_never_reached_a_receiver() -> None:
    firing = Log().own(K.RULE_PENDING).own(K.RULE_FIRING)
    assert "has not taken it in" in firing.outcome().text
    assert "not been routed" in fired().outcome().text
    assert "pending" in Log().own(K.RULE_PENDING).outcome("pending").text
    assert "true for long enough" in Log().own(K.RULE_PENDING).own(K.RULE_FORGOTTEN).outcome("inactive").text
    assert "has not fired" in Log().own(K.RULE_RESOLVED).outcome("inactive").text
