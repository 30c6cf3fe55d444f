"""What Otero asks of a SQL engine: ClickHouse's SQL, in process or on a server."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from otero.model.budget import Budget

Lane = Literal["insert", "logs", "traces", "rules", "interactive"]
"""Statements of different lanes never wait for each other. "insert" is for metrics and changes of the schema, "logs" and
"traces" are for inserts of these."""

Parameter = int | float | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an insert: numbers as an array, texts as a sequence of bytes, or a dictionary of them with codes.

    `type` is ClickHouse's: UInt64, Int64, Float64, Date, String, LowCardinality(String), Array of a number, Map of texts.
    `ends` says of an array or map where each row's run of `values` ends; those of a map are all keys, then all values.
    """

    name: str
    type: str
    values: NDArray[np.generic] | Sequence[bytes]
    dictionary: Sequence[bytes] = ()
    ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values if self.ends is None else self.ends)


class SqlEngine(Protocol):
    """Raises Unavailable (disk full, engine away), LimitExceeded (memory), TimedOut and Cancelled (the budget)."""

    def stream(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        lane: Lane = "interactive",
        budget: Budget,
    ) -> Iterator[pa.RecordBatch]:
        """The result of a query, batch by batch; the budget is looked at between them."""
        ...

    def table(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, lane: Lane = "interactive"
    ) -> pa.Table:
        """The result of a query that is known to be small."""
        ...

    def command(self, sql: str) -> None:
        """Run a statement that changes something."""
        ...

    def insert(self, table: str, columns: Sequence[Column], *, token: str) -> None:
        """Insert rows; the same `token` is stored once."""
        ...

    def insert_message(
        self, table: str, parts: Sequence[bytes], schema: str, *, token: str, lane: Lane
    ) -> None:
        """Insert one protobuf message, `Request` of the .proto text `schema`, given in parts, as one row of a table; the
        same `token` is stored once, also by the views of the table."""
        ...

    def close(self) -> None:
        """Give the data directory or the connection back."""
        ...
