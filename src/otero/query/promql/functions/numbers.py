"""Numbers in texts as Go reads and writes them, and doubts about quantiles."""

import re

import numpy as np
from numpy.typing import NDArray

from otero.query.promql.functions.context import Context
from otero.query.promql.numbers import go_number

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_HEXADECIMAL = re.compile(
    r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+", re.ASCII
)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE | re.ASCII)


def parse_float(text: str) -> float | None:
    """The number that Go's strconv.ParseFloat reads; None where it reports an error, out of range included."""
    if _INFINITE.fullmatch(text):
        return float(text)
    if text.lower() == "nan":
        return float("nan")
    if _DECIMAL.fullmatch(text):
        number = float(text)
    elif _HEXADECIMAL.fullmatch(text):
        try:
            number = float.fromhex(text)
        except OverflowError:
            return None
    else:
        return None
    return None if np.isinf(number) else number


def label_number(value: float) -> str:
    """A number as the value of a label: whole numbers end in `.0`."""
    text = go_number(value)
    return text if any(mark in text for mark in ".eNI") else f"{text}.0"


def doubt_quantiles(q: NDArray[np.float64], context: Context, argument: int) -> None:
    """Warn about each quantile outside of 0 to 1."""
    bad = np.isnan(q) | (q < 0) | (q > 1)
    for value in np.unique(q[bad]).tolist():
        context.warn(f"quantile value should be between 0 and 1, got {go_number(value)}", argument)
