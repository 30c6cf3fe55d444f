"""Numbers as Go prints them."""

from decimal import Decimal

import numpy as np


def go_number(value: float) -> str:
    """A float as Go's %v and %g print it."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{Decimal(repr(float(value))):e}".lower().partition("e")
    power = int(exponent or 0)
    if -5 < power < 21:
        return positional(value)
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def positional(value: float) -> str:
    """A float in the shortest digits that give it back, without an exponent (Go's format 'f', precision -1)."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")
