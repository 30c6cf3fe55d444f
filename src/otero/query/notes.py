"""Doubts that travel with an answer: Prometheus' warnings and infos."""

from dataclasses import dataclass
from enum import StrEnum


class NoteKind(StrEnum):
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Note:
    """One doubt about a result. `start` and `end` are character offsets in the query; -1 when it has no place there.

    `of_source`: it is about where samples come from, not about the query.
    """

    kind: NoteKind
    text: str
    start: int = -1
    end: int = -1
    of_source: bool = False


class Notes:
    """Collects the notes of one query, each once, in order of appearance."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}

    def warn(self, text: str, start: int = -1, end: int = -1) -> None:
        self._notes[Note(NoteKind.WARNING, text, start, end)] = None

    def inform(self, text: str, start: int = -1, end: int = -1) -> None:
        self._notes[Note(NoteKind.INFO, text, start, end)] = None

    def all(self) -> tuple[Note, ...]:
        return tuple(self._notes)


def render_note(note: Note, query: str) -> str:
    """A note as Prometheus writes it: `PromQL warning: text (line:column)`; one about the source is its text alone."""
    if note.of_source:
        return note.text
    place = ""
    if note.start >= 0:
        before = query[: note.start]
        column = len(before[before.rfind("\n") + 1 :].encode()) + 1  # Prometheus counts bytes
        place = f" ({before.count(chr(10)) + 1}:{column})"
    return f"PromQL {note.kind}: {note.text}{place}"
