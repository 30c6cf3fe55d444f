"""Pictures in the terminal: a sparkline per series and one plot of all."""

import math
from collections.abc import Sequence

_TICKS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """The values as a row of block characters, gaps (NaN) as blanks, at most `width` wide."""
    cells = _squeeze(values, width)
    finite = [value for value in cells if math.isfinite(value)]
    if not finite:
        return " " * len(cells)
    low, high = min(finite), max(finite)
    out: list[str] = []
    for value in cells:
        if math.isfinite(value):
            level = _share(value, low, high) * (len(_TICKS) - 1) if high > low else 3
            out.append(_TICKS[round(level)])
        else:
            out.append(" ")
    return "".join(out)


def plot(rows: Sequence[Sequence[float]], width: int = 72, height: int = 12) -> list[str]:
    """All rows in one frame of braille dots, the range of values at the left; gaps (NaN) are left out."""
    finite = [value for row in rows for value in row if math.isfinite(value)]
    if not finite or width < 2 or height < 1:
        return []
    low, high = min(finite), max(finite)
    cells = [[0] * width for _ in range(height)]
    dots_x, dots_y = width * 2, height * 4
    for row in rows:
        for x, value in enumerate(_stretch(_squeeze(row, dots_x), dots_x)):
            if math.isfinite(value):
                y = dots_y - 1 - round(_share(value, low, high) * (dots_y - 1))
                cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = {0: f"{high:.6g}", height - 1: f"{low:.6g}"}
    margin = max(map(len, labels.values()))
    return [
        f"{labels.get(index, ''):>{margin}} ┤" + "".join(chr(0x2800 + cell) for cell in line)
        for index, line in enumerate(cells)
    ]


def _share(value: float, low: float, high: float) -> float:
    """How far up a value lies between two others, 0 to 1; halves, as a difference of doubles may overflow."""
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span else 0.0


def _squeeze(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: the mean of each share that has finite values, else NaN."""
    if len(values) <= width:
        return list(values)
    out: list[float] = []
    for cell in range(width):
        share = values[cell * len(values) // width : (cell + 1) * len(values) // width]
        finite = [value for value in share if math.isfinite(value)]
        out.append(sum(finite) / len(finite) if finite else math.nan)
    return out


def _stretch(values: Sequence[float], width: int) -> list[float]:
    """`width` values along straight lines between the given ones; next to a gap there is no line."""
    if len(values) < 2:
        return list(values)
    out: list[float] = []
    for x in range(width):
        at = x * (len(values) - 1) / (width - 1)
        left = min(int(at), len(values) - 2)
        share = at - left
        first, second = values[left], values[left + 1]
        if share in (0, 1):
            out.append(second if share else first)
        elif math.isfinite(first) and math.isfinite(second):
            # Rounding must not lead out of what the frame was made for.
            between = first * (1 - share) + second * share
            out.append(min(max(between, min(first, second)), max(first, second)))
        else:
            out.append(math.nan)
    return out
