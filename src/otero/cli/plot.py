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
    low, span = min(finite), max(finite) - min(finite)
    out: list[str] = []
    for value in cells:
        if math.isfinite(value):
            level = (value - low) / span * (len(_TICKS) - 1) if span else 3
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
    span = (high - low) or 1.0
    cells = [[0] * width for _ in range(height)]
    dots_x, dots_y = width * 2, height * 4
    for row in rows:
        for x, value in enumerate(_stretch(_squeeze(row, dots_x), dots_x)):
            if math.isfinite(value):
                y = dots_y - 1 - round((value - low) / span * (dots_y - 1))
                cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = {0: f"{high:.6g}", height - 1: f"{low:.6g}"}
    margin = max(map(len, labels.values()))
    return [
        f"{labels.get(index, ''):>{margin}} ┤" + "".join(chr(0x2800 + cell) for cell in line)
        for index, line in enumerate(cells)
    ]


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
        if share == 0 or share == 1:
            out.append(values[left + int(share)])
        else:
            out.append(values[left] * (1 - share) + values[left + 1] * share)
    return out
