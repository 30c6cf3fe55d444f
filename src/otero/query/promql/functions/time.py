"""Parts of dates, in UTC, of values that are seconds since the epoch; without an argument, of the time of the step."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import LabelTable
from otero.query.promql.functions.args import InstantArg, InstantKernel, matrix
from otero.query.promql.functions.context import Context
from otero.query.series import StepMatrix

Seconds = NDArray[np.int64]

DAY_S = 86_400
FARTHEST_S = 1e17
"""Beyond this many seconds years no longer fit; such values and NaN give NaN."""


def date_part(part: Callable[[Seconds], NDArray[np.int64]]) -> InstantKernel:
    """The kernel of a function of a point in time."""

    def kernel(args: Sequence[InstantArg], context: Context) -> StepMatrix:
        if not args:
            seconds = context.steps.times_ms() // 1000
            return StepMatrix(LabelTable(1, {}), part(seconds).astype(np.float64)[:, None])
        given = matrix(args)
        usable = np.abs(given.values) < FARTHEST_S
        values = part(np.where(usable, given.values, 0.0).astype(np.int64)).astype(np.float64)
        return context.drop_name(replace(given, values=np.where(usable, values, np.nan)))

    return kernel


def minute(seconds: Seconds) -> Seconds:
    return seconds // 60 % 60


def hour(seconds: Seconds) -> Seconds:
    return seconds // 3600 % 24


def day_of_week(seconds: Seconds) -> Seconds:
    """0 is Sunday; the epoch began on a Thursday."""
    return (seconds // DAY_S + 4) % 7


def day_of_month(seconds: Seconds) -> Seconds:
    return _civil(seconds)[2]


def day_of_year(seconds: Seconds) -> Seconds:
    return seconds // DAY_S - _days(_civil(seconds)[0], 1) + 1


def days_in_month(seconds: Seconds) -> Seconds:
    year, number, _ = _civil(seconds)
    return _days(year + number // 12, number % 12 + 1) - _days(year, number)


def month(seconds: Seconds) -> Seconds:
    return _civil(seconds)[1]


def year(seconds: Seconds) -> Seconds:
    return _civil(seconds)[0]


def _civil(seconds: Seconds) -> tuple[Seconds, Seconds, Seconds]:
    """Year, month and day. Years are counted from March, so that the leap day comes last, in eras of 400 years."""
    days = seconds // DAY_S + 719_468  # since 0000-03-01
    era = days // 146_097
    day_of_era = days - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day + 2) // 153  # months since March
    number = np.where(shifted < 10, shifted + 3, shifted - 9)
    return year_of_era + era * 400 + (number <= 2), number, day - (153 * shifted + 2) // 5 + 1


def _days(year: Seconds, number: Seconds | int) -> Seconds:
    """Days from the epoch to the first of a month."""
    from_march = year - (np.asarray(number) <= 2)
    era = from_march // 400
    year_of_era = from_march - era * 400
    shifted = (np.asarray(number) + 9) % 12
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + (153 * shifted + 2) // 5
    return era * 146_097 + day_of_era - 719_468
