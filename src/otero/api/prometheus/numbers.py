"""Numbers and times as Prometheus' JSON writes them.

Prometheus prints a sample value in Go's shortest form: positional for magnitudes from 1e-6 up to 1e21, else with an
exponent of at least two digits. orjson's shortest digits are the same, only their layout differs at the edges.
"""

import math
from decimal import Decimal

import numpy as np
import orjson
from numpy.typing import NDArray


def value_text(value: float, *, positional: bool = False) -> str:
    """One sample value as text; `positional` never uses an exponent, as Prometheus writes a scalar."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value)}" if value or math.copysign(1, value) > 0 else "-0"
    text = repr(float(value))
    if "e" not in text:
        return text.removesuffix(".0")
    if positional or 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text


def value_texts(values: NDArray[np.float64]) -> list[bytes]:
    """Many sample values as texts; `values` is one-dimensional and contiguous."""
    if not len(values):
        return []
    texts = (
        orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        .replace(b".0,", b",")
        .removesuffix(b".0")
        .split(b",")
    )
    magnitudes = np.abs(values)
    with np.errstate(invalid="ignore"):
        plain = (magnitudes >= 1e-4) & (magnitudes < 1e15) | (values == 0)
    if not plain.all():
        for index in np.flatnonzero(~plain).tolist():
            texts[index] = value_text(float(values[index])).encode()
    return texts


def exposition_text(value: float) -> str:
    """One sample value as expositions write it: Go's %g, with an exponent below 1e-4 and from 1e6 on."""
    plain = value_text(value)
    if not math.isfinite(value) or value == 0 or 1e-4 <= abs(value) < 1e6:
        return plain
    sign, digits, exponent = Decimal(plain).normalize().as_tuple()
    power = len(digits) - 1 + int(exponent)
    fraction = "".join(map(str, digits[1:]))
    mantissa = f"{digits[0]}.{fraction}" if fraction else f"{digits[0]}"
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def time_text(time_ms: int) -> str:
    """A time as seconds with as many as three decimals, as Prometheus writes it."""
    sign, magnitude = ("-", -time_ms) if time_ms < 0 else ("", time_ms)
    seconds, rest = divmod(magnitude, 1000)
    return f"{sign}{seconds}.{rest:03d}" if rest else f"{sign}{seconds}"


def time_texts(times_ms: NDArray[np.int64]) -> list[bytes]:
    """Many times as `time_text` writes them."""
    seconds, rest = np.divmod(times_ms, 1000)
    if not len(times_ms) or (rest != rest[0]).any() or int(times_ms[0]) < 0 or int(times_ms.min()) < 0:
        return [time_text(time_ms).encode() for time_ms in times_ms.tolist()]
    whole = orjson.dumps(seconds, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    fraction = b".%03d" % rest[0] if rest[0] else b""
    return [text + fraction for text in whole] if fraction else whole
