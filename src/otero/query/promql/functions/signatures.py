"""Every function of PromQL with its types, as Prometheus 3.14 declares them."""

from dataclasses import dataclass

from otero.query.promql.ast import ValueType


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function may be called.

    variadic  0: exactly `args`; n > 0: the last of `args` may be left out, or repeated so that there are up to
              len(args) - 1 + n arguments; -1: the last of `args` may be left out or repeated without limit.
    experimental  needs the feature "promql-experimental-functions".
    """

    name: str
    args: tuple[ValueType, ...]
    returns: ValueType = ValueType.VECTOR
    variadic: int = 0
    experimental: bool = False

    @property
    def min_args(self) -> int:
        return len(self.args) - 1 if self.variadic else len(self.args)

    @property
    def max_args(self) -> int | None:
        """None when there is no limit."""
        if self.variadic < 0:
            return None
        return len(self.args) - 1 + self.variadic if self.variadic else len(self.args)


_TYPES = {
    "s": ValueType.SCALAR,
    "v": ValueType.VECTOR,
    "m": ValueType.MATRIX,
    "t": ValueType.STRING,
}

# name: argument types, "*" without limit or "+n" variadic, "!" experimental, "=s" for a scalar result.
_TABLE = """
abs v · absent v · absent_over_time m · acos v · acosh v · asin v · asinh v · atan v · atanh v · avg_over_time m
ceil v · changes m · clamp vss · clamp_max vs · clamp_min vs · cos v · cosh v · count_over_time m
day_of_month v +1 · day_of_week v +1 · day_of_year v +1 · days_in_month v +1 · deg v · delta m · deriv m
double_exponential_smoothing mss !
end - =s ! · exp v · first_over_time m ! · floor v
histogram_avg v · histogram_count v · histogram_fraction ssv · histogram_quantile sv
histogram_quantiles vtss +9 ! · histogram_stddev v · histogram_stdvar v · histogram_sum v · hour v +1
idelta m · increase m · info vv +1 ! · irate m
label_join vttt * · label_replace vtttt · last_over_time m · ln v · log10 v · log2 v
mad_over_time m ! · max_of ss =s ! · max_over_time m · min_of ss =s ! · min_over_time m · minute v +1 · month v +1
pi - =s · predict_linear ms · present_over_time m · quantile_over_time sm
rad v · range - =s ! · rate m · resets m · round vs +1
scalar v =s · sgn v · sin v · sinh v · sort v · sort_by_label vt * ! · sort_by_label_desc vt * ! · sort_desc v
sqrt v · start - =s ! · start_timestamp v ! · stddev_over_time m · stdvar_over_time m · step - =s !
sum_over_time m
tan v · tanh v · time - =s · timestamp v
ts_of_first_over_time m ! · ts_of_last_over_time m ! · ts_of_max_over_time m ! · ts_of_min_over_time m !
vector s · year v +1
"""


def _read(line: str) -> Signature:
    name, args, *marks = line.split()
    variadic = next((-1 if mark == "*" else int(mark) for mark in marks if mark[0] in "*+"), 0)
    return Signature(
        name,
        () if args == "-" else tuple(_TYPES[letter] for letter in args),
        ValueType.SCALAR if "=s" in marks else ValueType.VECTOR,
        variadic,
        "!" in marks,
    )


SIGNATURES: dict[str, Signature] = {
    signature.name: signature for signature in map(_read, _TABLE.strip().replace("\n", " · ").split(" · "))
}
"""Name -> signature, in alphabetical order."""
