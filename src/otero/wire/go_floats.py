"""Numbers as Prometheus' parsers take them and as Go prints them.

Python's `float` takes more than Go's `ParseFloat` (underscores, blanks at the ends, a sign before nan, overflow to
infinity). What both take, both read alike.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from otero.model.samples import NAN_BITS, bits

_PLAIN = b"0123456789+-.eEINFTYAinftya"
_NOT_FINITE = re.compile(rb" ?(?:nan|[+-]?inf(?:inity)?)", re.IGNORECASE)


def parse_floats(texts: Sequence[bytes]) -> NDArray[np.float64] | None:
    """The numbers in these texts, or None when one of them is not a number; `is_float` tells which."""
    if b"".join(texts).translate(None, _PLAIN):
        return None
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        return None
    return values if _settle_not_finite(values, texts) else None


def parse_spaced_floats(texts: Sequence[bytes], length: int) -> NDArray[np.float64] | None:
    """The numbers in texts that are each one blank and one number, and `length` bytes together; None if any is not."""
    joined = b"\n".join(texts)
    count = len(texts)
    if (
        len(joined) != length + count - 1
        or not joined.startswith(b" ")
        or joined.count(b"\n ") != count - 1
        or joined.count(b" ") != count
        or joined.translate(None, _PLAIN + b" \n")
    ):
        return None
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        return None
    return values if _settle_not_finite(values, texts) else None


def _settle_not_finite(values: NDArray[np.float64], texts: Sequence[bytes]) -> bool:
    """Give every NaN the bits of an ordinary NaN, in place.

    False when a text is not one that Go takes for NaN or infinity, which overflow is not.
    """
    if np.isfinite(values).all():
        return True
    if not all(_NOT_FINITE.fullmatch(texts[row]) for row in np.flatnonzero(~np.isfinite(values)).tolist()):
        return False
    bits(values)[np.isnan(values)] = NAN_BITS
    return True


def is_float(text: bytes) -> bool:
    """Whether Prometheus' parsers take this text for a number."""
    return parse_floats((text,)) is not None


def format_float(value: float) -> str:
    """The shortest text that reads back as `value`, in the form of Go's %g, which the text format uses."""
    return format_openmetrics_float(value).removesuffix(".0")


def format_openmetrics_float(value: float) -> str:
    """The shortest text that reads back as `value`, with an exponent or a point in it, as OpenMetrics wants it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0.0"
    mantissa, _, exponent_text = f"{value!r}e0".partition("e")
    exponent = int(exponent_text.partition("e")[0])
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    point = len(whole) + exponent - (len(digits) - len(digits.lstrip("0")))
    digits = digits.strip("0")
    if not -4 < point <= 6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    return f"{sign}{digits[:point]}.{digits[point:]}"
