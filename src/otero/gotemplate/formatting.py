"""Go's fmt: how values print, and Printf.

Rules: https://pkg.go.dev/fmt
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from otero.gotemplate.values import FunctionError, List, Map, Struct, type_name

_VERB = re.compile(r"%([-+# 0]*)(\*|\d*)(?:\.(\*|\d*))?(.?)", re.DOTALL)
_MAX_WIDTH = 10_000
_SHORTEST_PLAIN = 6
"""From this power of ten on, shortest digits have an exponent."""
_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def to_text(value: Any, *, plus: bool = False) -> str:
    """A value as `%v` prints it (with `plus` as `%+v`: structs with the names of their fields)."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, (Map, List, Struct)) and "String" in value.methods:
        return value.methods["String"](value)
    if isinstance(value, Map):
        pairs = (f"{key}:{to_text(item, plus=plus)}" for key, item in value.sorted_items())
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, List):
        return f"[{' '.join(to_text(item, plus=plus) for item in value.items)}]"
    if isinstance(value, Struct):
        shown = (
            f"{name}:{to_text(v, plus=plus)}" if plus else to_text(v) for name, v in value.fields.items()
        )
        return f"{{{' '.join(shown)}}}"
    return str(value)


def float_text(value: float, form: str = "g", precision: int = -1) -> str:
    """`strconv.FormatFloat` of the forms e, E, f, g, G; a precision of -1 gives the fewest digits that read back."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if precision >= 0:
        return f"{value:.{max(precision, 1) if form in 'gG' else precision}{form}}"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    if digits == "0":
        point = 1
    if form == "f" or (form in "gG" and -4 <= point - 1 < _SHORTEST_PLAIN):
        return sign + _plain(digits, point)
    power = point - 1
    text = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{sign}{text}{'E' if form in 'EG' else 'e'}{'-' if power < 0 else '+'}{abs(power):02d}"


def _plain(digits: str, point: int) -> str:
    if point <= 0:
        return f"0.{'0' * -point}{digits}"
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return f"{digits[:point]}.{digits[point:]}"


def sprint(values: Sequence[Any]) -> str:
    """`fmt.Sprint`: blanks only between operands of which neither is a string."""
    out: list[str] = []
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out.append(" ")
        out.append(to_text(value))
    return "".join(out)


def sprintf(layout: str, values: Sequence[Any]) -> str:
    """`fmt.Sprintf`, with its marks for verbs that do not fit (`%!d(string=x)`). Raises FunctionError for huge widths."""
    taken = 0

    def following() -> Any:
        nonlocal taken
        taken += 1
        return values[taken - 1] if taken <= len(values) else _MISSING

    def number(text: str | None) -> int | None:
        if text == "*":
            value = following()
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        return int(text) if text else None

    def directive(found: re.Match[str]) -> str:
        flags, width_text, precision_text, verb = found.groups()
        width = number(width_text)
        precision = number(precision_text) if precision_text is not None else None
        if precision is None and precision_text == "":
            precision = 0
        if max(abs(width or 0), precision or 0) > _MAX_WIDTH:
            raise FunctionError(f"printf: widths and precisions are at most {_MAX_WIDTH:,}")
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        value = following()
        if value is _MISSING:
            return f"%!{verb}(MISSING)"
        return _verb(verb, value, flags, precision, width or 0)

    text = _VERB.sub(directive, layout)
    if taken < len(values):
        rest = (
            f"{type_name(v).replace('nil', '<nil>')}{'' if v is None else '=' + to_text(v)}"
            for v in values[taken:]
        )
        text += f"%!(EXTRA {', '.join(rest)})"
    return text


_MISSING: Any = object()


def _pad(text: str, is_number: bool, flags: str, width: int) -> str:
    missing = width - len(text)
    if missing <= 0:
        return text
    if "-" in flags:
        return text + " " * missing
    if "0" in flags:
        sign = text[:1] if is_number and text[:1] in ("+", "-", " ") else ""
        return sign + "0" * missing + text[len(sign) :]
    return " " * missing + text


def _verb(verb: str, value: Any, flags: str, precision: int | None, width: int) -> str:
    """The text of one directive; what is made of parts is padded part by part, as Go does."""

    def part(item: Any) -> str:
        return _verb(verb, item, flags, precision, width)

    if isinstance(value, (Map, List, Struct)) and verb in "svqxX" and "String" in value.methods:
        value = value.methods["String"](value)
    elif verb != "T":
        if isinstance(value, List):
            return f"[{' '.join(map(part, value.items))}]"
        if isinstance(value, Map):
            return f"map[{' '.join(f'{part(key)}:{part(item)}' for key, item in value.sorted_items())}]"
        if isinstance(value, Struct):
            named = verb == "v" and "+" in flags
            shown = (f"{name}:{part(v)}" if named else part(v) for name, v in value.fields.items())
            return f"{{{' '.join(shown)}}}"
    text, is_number = _leaf(verb, value, flags, precision)
    return _pad(text, is_number, flags, width)


def _leaf(verb: str, value: Any, flags: str, precision: int | None) -> tuple[str, bool]:
    """The text of a value without parts, and whether zeros go between its sign and its digits."""
    if verb == "T":
        return "<nil>" if value is None else type_name(value), False
    if value is None:
        return ("<nil>" if verb == "v" else f"%!{verb}(<nil>)"), False
    if isinstance(value, bool):
        return (to_text(value) if verb in "tv" else _misfit(verb, value)), False
    if isinstance(value, int) and not (verb in "sv" and type(value) is not int):
        return _integer(verb, value, flags, precision)
    if isinstance(value, float):
        return _float(verb, value, flags, precision)
    if verb in "svqxX":
        return _text(verb, str(value), flags, precision), False
    return _misfit(verb, value), False


def _misfit(verb: str, value: Any) -> str:
    return f"%!{verb}({type_name(value)}={to_text(value)})"


def _signed(text: str, flags: str) -> str:
    if text.startswith(("-", "+")):
        return text
    return ("+" if "+" in flags else " " if " " in flags else "") + text


def _integer(verb: str, value: int, flags: str, precision: int | None) -> tuple[str, bool]:
    sharp = "#" in flags
    match verb:
        case "d" | "v":
            digits = str(abs(value))
        case "x" | "X":
            digits = ("0x" if sharp else "") + f"{abs(value):x}"
            digits = digits.upper() if verb == "X" else digits
        case "o" | "O":
            digits = ("0o" if verb == "O" else "0" if sharp else "") + f"{abs(value):o}"
        case "b":
            digits = ("0b" if sharp else "") + f"{abs(value):b}"
        case "c":
            return _character(value), False
        case "q":
            return f"'{quoted(_character(value))[1:-1]}'", False
        case "U":
            return f"U+{value & 0xFFFF_FFFF_FFFF_FFFF:04X}", False
        case _:
            return _misfit(verb, value), False
    if precision is not None:
        digits = digits.zfill(precision)
    return _signed(f"-{digits}" if value < 0 else digits, flags), True


def _character(value: int) -> str:
    return chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF else "�"


def _float(verb: str, value: float, flags: str, precision: int | None) -> tuple[str, bool]:
    form = {"v": "g", "F": "f"}.get(verb, verb)
    if form in "xX" and precision is None and math.isfinite(value):
        text = _hexadecimal(value)
        return _signed(text.upper() if form == "X" else text, flags), True
    if form not in "eEfgG":
        return _misfit(verb, value), False
    if precision is None:
        precision = 6 if form in "eEf" else -1
    text = float_text(value, form, precision)
    if not math.isfinite(value):
        text = text if "+" in flags or text[0] != "+" else text[1:] if verb != "v" else text
        return text, False
    return _signed(text, flags), True


def _hexadecimal(value: float) -> str:
    mantissa, _, exponent = value.hex().partition("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    mantissa = f"{mantissa}0" if mantissa.endswith("x") else mantissa
    power = int(exponent)
    return f"{mantissa}p{'-' if power < 0 else '+'}{abs(power):02d}"


def _text(verb: str, value: str, flags: str, precision: int | None) -> str:
    if verb in "xX":
        data = value.encode()[:precision]
        text = data.hex(" ") if " " in flags else data.hex()
        return text.upper() if verb == "X" else text
    if precision is not None:
        value = value[:precision]
    if verb == "q":
        if "#" in flags and "`" not in value and all(ch >= " " or ch == "\t" for ch in value):
            return f"`{value}`"
        return quoted(value, ascii_only="+" in flags)
    return value


def quoted(value: str, *, ascii_only: bool = False) -> str:
    """`strconv.Quote`: a Go string literal."""
    out: list[str] = []
    for char in value:
        code = ord(char)
        if code in _ESCAPES:
            out.append(_ESCAPES[code])
        elif code < 0x80:
            out.append(char if 32 <= code < 127 else f"\\x{code:02x}")
        elif char.isprintable() and not ascii_only:
            out.append(char)
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(out)}"'
