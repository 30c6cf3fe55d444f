"""The engine's side of the question which series there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.budget import Budget
from otero.model.labels import METRIC_NAME, LabelBytes, LabelTable, decode_labels
from otero.model.matchers import Matcher
from otero.model.metrics import Exemplar
from otero.storage.engine import Parameter, SqlEngine
from otero.storage.sql import series_condition

_DAY_MS = 86_400_000
_MANY = 100_000
"""Ids that a condition may name."""
_MIN_DAY, _MAX_DAY = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, slots=True, eq=False)
class FoundSeries:
    """Series of the engine, sorted by id: S ids and label bytes, and the metrics that they belong to."""

    ids: NDArray[np.uint64]
    keys: list[LabelBytes]
    metrics: list[str]

    def labels(self) -> LabelTable:
        """Their label sets."""
        return LabelTable.of([decode_labels(key) for key in self.keys])


class StoredSeries:
    """Asks the table `series`."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def matching(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, budget: Budget
    ) -> FoundSeries:
        """The series that satisfy every matcher and had a sample on a day of the range."""
        condition, parameters = series_condition(matchers)
        return self._found(
            f"{condition} AND day >= {{from:Int32}} AND day <= {{until:Int32}}",
            {**parameters, **_days(start_ms, end_ms)},
            budget,
        )

    def by_id(self, ids: NDArray[np.uint64], budget: Budget | None) -> FoundSeries:
        """The series of these ids, or every series when they are many."""
        if len(ids) > _MANY:
            return self._found("1", {}, budget)
        return self._found("id IN {ids:Array(UInt64)}", {"ids": ids.tolist()}, budget)

    def count(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> int:
        """How many series of these metrics had a sample on a day of the range."""
        table = self._engine.table(
            "SELECT uniqExact(id) AS size FROM series WHERE metric IN {metrics:Array(String)}"
            " AND day >= {from:Int32} AND day <= {until:Int32}",
            {"metrics": list(metrics), **_days(start_ms, end_ms)},
        )
        return int(table["size"][0].as_py())

    def _found(
        self, condition: str, parameters: Mapping[str, Parameter], budget: Budget | None
    ) -> FoundSeries:
        sql = f"SELECT id, any(key) AS label_bytes, any(metric) AS name FROM series WHERE {condition} GROUP BY id ORDER BY id"
        if budget is None:
            batches = self._engine.table(sql, parameters).to_batches()
        else:
            batches = list(self._engine.stream(sql, parameters, budget=budget))
        ids = [batch["id"].to_numpy() for batch in batches]
        keys = [LabelBytes(key) for batch in batches for key in batch["label_bytes"].to_pylist()]
        metrics = {name for batch in batches for name in batch["name"].to_pylist()}
        return FoundSeries(
            np.concatenate(ids) if ids else np.zeros(0, np.uint64),
            keys,
            sorted(name if isinstance(name, str) else name.decode() for name in metrics),
        )

    def label_names(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> set[str]:
        """Names of the labels of matching series."""
        condition, parameters = series_condition(matchers)
        return self._texts(
            "SELECT DISTINCT arrayJoin(mapKeys(labels)) AS text FROM series"
            f" WHERE {condition} AND day >= {{from:Int32}} AND day <= {{until:Int32}}",
            {**parameters, **_days(start_ms, end_ms)},
        )

    def label_values(self, name: str, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> set[str]:
        """Values of one label of matching series."""
        condition, parameters = series_condition(matchers)
        column = "metric" if name == METRIC_NAME else "labels[{name:String}]"
        found = self._texts(
            f"SELECT DISTINCT {column} AS text FROM series"
            f" WHERE {condition} AND day >= {{from:Int32}} AND day <= {{until:Int32}}",
            {**parameters, **_days(start_ms, end_ms), "name": name},
        )
        return found - {""}

    def _texts(self, sql: str, parameters: Mapping[str, Parameter]) -> set[str]:
        texts = self._engine.table(sql, parameters)["text"].to_pylist()
        return {text if isinstance(text, str) else text.decode() for text in texts}

    def exemplars(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> list[tuple[LabelBytes, Exemplar]]:
        """Exemplars of matching series in a time range; their `ref` is -1."""
        condition, parameters = series_condition(matchers)
        table = self._engine.table(
            "SELECT s.label_bytes AS key, e.time AS time, e.value AS value, e.labels AS labels FROM exemplars AS e"
            f" INNER JOIN (SELECT id, any(key) AS label_bytes FROM series WHERE {condition} GROUP BY id) AS s ON s.id = e.series"
            " WHERE e.time >= {from:Int64} AND e.time <= {until:Int64} ORDER BY e.time LIMIT 100000",
            {**parameters, "from": start_ms, "until": end_ms},
        )
        return [
            (LabelBytes(row["key"]), Exemplar(-1, LabelBytes(row["labels"]), row["value"], row["time"]))
            for row in table.to_pylist()
        ]


def _days(start_ms: int, end_ms: int) -> dict[str, Parameter]:
    return {
        "from": max(start_ms // _DAY_MS, _MIN_DAY),
        "until": min(end_ms // _DAY_MS, _MAX_DAY),
    }
