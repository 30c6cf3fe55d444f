"""Native histograms as Prometheus prints them: `{count:4, sum:5, (0.5,1]:1, (1,2]:3}`."""

from otero.model.histograms import CUSTOM, Histograms
from otero.query.promql.native.layout import bounds_of
from otero.query.promql.numbers import go_number


def describe(h: Histograms) -> list[str]:
    """One text per row: count, sum and what is not empty, ascending."""
    lower, upper = bounds_of(h)
    out: list[str] = []
    for row in range(len(h)):
        parts = [f"count:{go_number(float(h.count[row]))}", f"sum:{go_number(float(h.sum[row]))}"]
        custom = h.schema[row] == CUSTOM
        threshold, zero = float(h.zero_threshold[row]), float(h.zero_count[row])
        middle = f"[{go_number(-threshold)},{go_number(threshold)}]:{go_number(zero)}"
        pending = zero != 0
        for at in range(int(h.offsets[row]), int(h.offsets[row + 1])):
            if pending and h.bucket[at] > 0:
                parts.append(middle)
                pending = False
            if h.value[at] == 0:
                continue
            low, high = float(lower[at]), float(upper[at])
            opening = "[" if (low == float("-inf") if custom else low < 0) else "("
            closing = "]" if custom or high > 0 else ")"
            parts.append(
                f"{opening}{go_number(low)},{go_number(high)}{closing}:{go_number(float(h.value[at]))}"
            )
        if pending:
            parts.append(middle)
        out.append("{" + ", ".join(parts) + "}")
    return out
