"""What a kernel is told besides its arguments."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.budget import Budget
from otero.query.notes import Notes
from otero.query.promql import ast
from otero.query.promql.naming import drop_names
from otero.query.series import StepMatrix, Steps


@dataclass(slots=True)
class Context:
    """One call of a function within one query.

    steps     the grid on which the result lies.
    ends_ms   int64 [steps]: where the windows end; the times of the steps unless `offset` or `@` moved them.
    call      the call in the syntax tree; its arguments carry the positions that notes name.
    delayed_name_removal  metric names go at the end of the query, not at each function.
    """

    steps: Steps
    ends_ms: NDArray[np.int64]
    notes: Notes
    call: ast.Call
    budget: Budget
    lookback_ms: int
    delayed_name_removal: bool = False

    def drop_name(self, matrix: StepMatrix) -> StepMatrix:
        """The matrix without metric names, or with names that are due to go."""
        return drop_names(matrix, self.delayed_name_removal)

    def place(self, argument: int) -> tuple[int, int]:
        """Start and end of an argument in the query text, as notes carry them."""
        node = self.call.args[argument]
        return node.start, node.end

    def range_place(self) -> tuple[int, int]:
        """Start and end of the range vector among the arguments."""
        for node in self.call.args:
            if isinstance(node, (ast.MatrixSelector, ast.Subquery)):
                return node.start, node.end
        return self.call.start, self.call.end

    def warn(self, text: str, argument: int) -> None:
        self.notes.warn(text, *self.place(argument))

    def inform(self, text: str, argument: int) -> None:
        self.notes.inform(text, *self.place(argument))
