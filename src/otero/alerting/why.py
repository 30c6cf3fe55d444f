"""Why: the decisions about an alert as one story for each of its instances, and what came of it.

stories(decisions) -> the decisions that concern each instance, those about its groups among them
conclusion(story)  -> who was told; who was not, and why
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from otero.model.decisions import Decision, DecisionKind
from otero.model.times import when

K = DecisionKind

_BEGINS = frozenset({K.RULE_FIRING, K.RECEIVED})
_HOLDS = {K.INHIBITED: K.UNINHIBITED, K.SILENCED: K.UNSILENCED}
"""What holds an alert back, and what lets it go."""

Place = tuple[str, str]
"""A group's key and its receiver: routes to two receivers may make groups of one key."""


@dataclass(frozen=True, slots=True)
class Story:
    """What was decided about one alert, in order. Decisions about its groups are those of the time in which it was in
    them."""

    labels: Mapping[str, str]
    fingerprint: int
    decisions: Sequence[Decision]


def stories(decisions: Iterable[Decision]) -> list[Story]:
    """One story for each instance, the one of which something was heard last at the end.

    `decisions` are those about the instances and those about the groups that they name, in order. What concerns a rule
    as a whole is in none of them.
    """
    instances: dict[int, _Instance] = {}
    members: dict[Place, list[_Instance]] = {}
    announced: dict[Place, Decision] = {}
    for one in decisions:
        place = (one.group_key, one.receiver)
        if one.fingerprint:
            instance = instances.setdefault(one.fingerprint, _Instance(one.fingerprint, one.labels))
            instance.take(one)
            if one.kind is K.ROUTED:
                of_place = members.setdefault(place, [])
                if instance not in of_place:
                    of_place.append(instance)
                # A group is announced before its first alert is routed to it.
                waiting = announced.get(place)
                if waiting is not None and waiting.time_ms == one.time_ms:
                    instance.take_of_group(waiting)
        elif one.group_key:
            if one.kind is K.WAITING:
                announced[place] = one
                continue
            for instance in members.get(place, ()):
                if instance.is_concerned(one):
                    instance.take_of_group(one)
    told = [Story(instance.labels, number, instance.decisions) for number, instance in instances.items()]
    return sorted(told, key=lambda story: story.decisions[-1].time_ms)


def about_rule(decisions: Iterable[Decision]) -> list[Decision]:
    """What concerns the rule as a whole."""
    return [one for one in decisions if not one.fingerprint and not one.group_key]


@dataclass(slots=True, eq=False)
class _Instance:
    """An instance while its story is put together. `done`: who knows of its end, and hears of others from then on."""

    fingerprint: int
    labels: Mapping[str, str]
    decisions: list[Decision] = field(default_factory=list[Decision])
    ended: bool = False
    done: set[tuple[Place, str]] = field(default_factory=set[tuple[Place, str]])

    def take(self, one: Decision) -> None:
        self.decisions.append(one)
        if one.kind in (K.RESOLVED, K.RULE_RESOLVED):
            self.ended = True
        elif one.kind in _BEGINS:
            self.ended = False
            self.done.clear()

    def is_concerned(self, one: Decision) -> bool:
        """Whether a decision about a group that it was routed to concerns this instance."""
        if self.ended and (not one.integration or self._end(one) in self.done):
            return False
        named: Sequence[str] = one.detail.get("alerts", ())
        if named and len(named) == one.detail.get("firing", 0) + one.detail.get("resolved", 0):
            return f"{self.fingerprint:016x}" in named
        return True

    def take_of_group(self, one: Decision) -> None:
        self.decisions.append(one)
        if self.ended and one.kind in (K.DELIVERED, K.DEDUPLICATED):
            self.done.add(self._end(one))

    def _end(self, one: Decision) -> tuple[Place, str]:
        return (one.group_key, one.receiver), one.integration


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the last time that an alert fired.

    text   a sentence or two; `told` names who knows, "receiver by integration".
    """

    text: str
    told: Sequence[str] = ()
    not_told: Sequence[str] = ()


def conclusion(story: Story, *, state: str, integrations: Mapping[str, Sequence[str]]) -> Outcome:
    """Who was told and who was not.

    state         at present: pending, firing, inactive; "" when that is not known.
    integrations  of each receiver of the configuration in force.
    """
    decisions = story.decisions
    begins = [at for at, one in enumerate(decisions) if one.kind in _BEGINS and _is_begin(decisions, at)]
    if not begins:
        return _never_fired(decisions, state)
    spell = decisions[begins[-1] :]
    places = _places(spell) or _places(decisions)
    if not places:
        if any(one.kind is K.RECEIVED for one in decisions):
            return Outcome("Nobody was told: it was taken in and has not been routed yet.")
        return Outcome("Nobody was told: it fired, but the Alertmanager has not taken it in.")
    held = _held(decisions)
    told: list[str] = []
    not_told: list[str] = []
    for place in places:
        receiver = place[1]
        of_group = [one for one in spell if (one.group_key, one.receiver) == place]
        names = dict.fromkeys(integrations.get(receiver, ()))
        names.update(dict.fromkeys(one.integration for one in of_group if one.integration))
        if not names:
            not_told.append(f'the receiver "{receiver}" has no integrations')
        for name in names:
            last = [one for one in of_group if one.integration == name]
            delivered = next((one for one in reversed(last) if one.kind is K.DELIVERED), None)
            failed = last and last[-1].kind in (K.ATTEMPT_FAILED, K.GIVEN_UP)
            if delivered is not None:
                told.append(f"{receiver} by {name} at {when(delivered.time_ms)}")
            if failed:
                not_told.append(f"{receiver} by {name}: {_bare(last[-1].text)}")
            elif delivered is None:
                known = next((_bare(one.text) for one in reversed(last) if one.kind is K.DEDUPLICATED), "")
                not_told.append(
                    f"{receiver} by {name}: {known or _withheld(of_group, held) or 'nothing was sent yet'}"
                )
    parts = [f"Told: {'; '.join(told)}."] if told else []
    if not_told:
        parts.append(f"{'Not told' if told else 'Nobody was told'}: {'; '.join(not_told)}.")
    if told and held and state == "firing":
        parts.append(f"Now {held}.")
    return Outcome(" ".join(parts), told, not_told)


def _places(decisions: Sequence[Decision]) -> dict[Place, None]:
    """Where it was routed to."""
    return {(one.group_key, one.receiver): None for one in decisions if one.kind is K.ROUTED}


def _is_begin(decisions: Sequence[Decision], at: int) -> bool:
    """Whether a spell of firing begins there: what a rule says and its arrival in the inbox are one beginning."""
    for one in reversed(decisions[:at]):
        if one.kind in _BEGINS:
            return False
        if one.kind in (K.RULE_RESOLVED, K.RESOLVED, K.RULE_PENDING, K.RULE_FORGOTTEN):
            return True
    return True


def _never_fired(decisions: Sequence[Decision], state: str) -> Outcome:
    last = decisions[-1].kind
    if state == "pending" or (not state and last is K.RULE_PENDING):
        return Outcome("Nobody is told yet: it is pending, and does not fire before its `for` has passed.")
    if any(one.kind is K.RULE_FORGOTTEN for one in decisions):
        return Outcome(
            "Nobody was told: it never fired, since its expression was never true for long enough."
        )
    if any(one.kind is K.DELIVERED for one in decisions):
        return Outcome("It began to fire before the time that is shown.")
    return Outcome("Nobody was told: it has not fired in the time that is shown.")


def _held(decisions: Sequence[Decision]) -> str:
    """What holds the alert itself back at the end of the story, "" when nothing does."""
    for holds, frees in _HOLDS.items():
        last = next((one for one in reversed(decisions) if one.kind in (holds, frees)), None)
        if last is not None and last.kind is holds:
            return _bare(last.text)
    return ""


def _withheld(of_group: Sequence[Decision], held: str) -> str:
    """Why a group is not told of, as far as that is no matter of an integration."""
    if held:
        return held
    muted = next((one for one in reversed(of_group) if one.kind in (K.MUTED_BY_TIME, K.ACTIVE_AGAIN)), None)
    if muted is not None and muted.kind is K.MUTED_BY_TIME:
        return _bare(muted.text)
    waiting = next((one for one in reversed(of_group) if one.kind is K.WAITING), None)
    return _bare(waiting.text) if waiting is not None else ""


def _bare(text: str) -> str:
    """A sentence as a part of another one."""
    return text[:1].lower() + text[1:].removesuffix(".")
