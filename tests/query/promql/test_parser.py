"""What the PromQL parser takes, what it refuses and in which words."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadQuery
from otero.model.matchers import Matcher, MatchOp
from otero.query.promql.ast import (
    Aggregate,
    AggregateOp,
    AtEdge,
    Binary,
    BinaryOp,
    Call,
    Cardinality,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
    children,
    type_of,
    walk,
)
from otero.query.promql.parser import FEATURES, MAX_LENGTH, parse, parse_selector
from otero.query.promql.printer import to_text
from otero.query.promql.spec_language import Eval, read_commands


def metric(name: str, **more: object) -> VectorSelector:
    return VectorSelector(name, (Matcher("__name__", MatchOp.EQUAL, name),), **more)  # pyright: ignore[reportArgumentType]


NUMBERS = {
    "1": 1.0,
    "+1": 1.0,
    "-1": -1.0,
    ".5": 0.5,
    "5.": 5.0,
    "1e3": 1000.0,
    "2E-2": 0.02,
    "0x1F": 31.0,
    "0X_1f": 31.0,
    "0755": 493.0,
    "08": 8.0,
    "1_000": 1000.0,
    ".123_456": 0.123456,
    "0x_53_AB": 0x53AB,
    "Inf": float("inf"),
    "-iNf": float("-inf"),
    "1h30m": 5400.0,
    "250ms": 0.25,
    "-5m": -300.0,
    "1y": 365 * 86400.0,
    "2w3d": 17 * 86400.0,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_number_literals(text: str) -> None:
    expr = parse(text)
    assert isinstance(expr, NumberLiteral)
    assert expr.value == NUMBERS[text]
    assert (expr.start, expr.end) == (0, len(text))


STRINGS = {
    '"a"': "a",
    "'a\\'b'": "a'b",
    '"tab\\t\\x41\\101\\u00e9\\U0001F600"': "tab\tAA\u00e9\U0001f600",
    "`raw \\n`": "raw \\n",
    '"\\xff"': "\udcff",
    '"\\xe2\\x82\\xac"': "€",
    "`two\nlines`": "two\nlines",
}


@pytest.mark.parametrize("text", STRINGS)
def test_string_literals(text: str) -> None:
    assert parse(text) == StringLiteral(STRINGS[text])


def test_names_in_quotes() -> None:
    assert parse('{"my.metric", "a.b"=~"c"}') == VectorSelector(
        "", (Matcher("__name__", MatchOp.EQUAL, "my.metric"), Matcher("a.b", MatchOp.REGEX, "c"))
    )
    assert parse('sum by ("a b", c) (x)') == Aggregate(AggregateOp.SUM, metric("x"), None, ("a b", "c"))


@pytest.mark.parametrize(
    "name",
    ["and", "or", "unless", "by", "without", "offset", "sum", "topk", "limitk", "start", "end", "step", "range",
     "anchored", "smoothed", "fill", "fill_left", "a:b", ":x", "_", "infinity"],
)  # fmt: skip
def test_words_that_are_metrics_too(name: str) -> None:
    assert parse(name) == metric(name)
    assert parse(f'{name}{{a="b"}}', features=FEATURES).name == name  # pyright: ignore[reportAttributeAccessIssue]


def test_words_as_labels() -> None:
    words = ("and", "by", "on", "ignoring", "bool", "group_left", "sum", "offset", "start", "atan2", "fill")
    expr = parse(f"sum without ({', '.join(words)},) (x)")
    assert isinstance(expr, Aggregate)
    assert expr.grouping == words
    assert parse("x{on='1',by='2',bool='3',}") == VectorSelector(
        "x",
        (
            Matcher("on", MatchOp.EQUAL, "1"),
            Matcher("by", MatchOp.EQUAL, "2"),
            Matcher("bool", MatchOp.EQUAL, "3"),
            Matcher("__name__", MatchOp.EQUAL, "x"),
        ),
    )


def test_modifiers_of_selectors() -> None:
    assert parse("x offset -5m @ 1.5") == metric("x", offset_ms=-300_000, at=1500)
    assert parse("x @ -2 offset 90") == metric("x", offset_ms=90_000, at=-2000)
    assert parse("x[5m] @ start() offset 1h30m") == MatrixSelector(
        metric("x", offset_ms=5_400_000, at=AtEdge.START), 300_000
    )
    assert parse("x[5m:1m] @ end() offset 1m") == Subquery(
        metric("x"), 300_000, 60_000, offset_ms=60_000, at=AtEdge.END
    )
    assert parse("x[1h30m:]") == Subquery(metric("x"), 5_400_000)
    assert parse("x[0.5] offset 0.25") == MatrixSelector(metric("x", offset_ms=250), 500)


GROUPED = {
    "a + b * c": "a + (b * c)",
    "a * b + c": "(a * b) + c",
    "a - b - c": "(a - b) - c",
    "a ^ b ^ c": "a ^ (b ^ c)",
    "-a ^ b": "-(a ^ b)",
    "-a * b": "(-a) * b",
    "a ^ -b * c": "(a ^ (-b)) * c",
    "a atan2 b / c": "(a atan2 b) / c",
    "a or b and c unless d": "a or ((b and c) unless d)",
    "a == b + c > d": "(a == (b + c)) > d",
    "a % b == bool c": "(a % b) == bool c",
    "a offset 1m + b": "(a offset 1m) + b",
    "-a offset 1m": "-(a offset 1m)",
    "a offset -2 ^ 2": "(a offset -2) ^ 2",
}


def grouped(expr: Expr) -> str:
    """The text with parentheses around every operation below the top."""

    def inner(node: Expr) -> str:
        text = grouped(node)
        return f"({text})" if isinstance(node, (Binary, Unary)) or "offset" in text else text

    match expr:
        case Binary():
            return f"{inner(expr.left)} {expr.op}{' bool' if expr.return_bool else ''} {inner(expr.right)}"
        case Unary():
            return f"{expr.op}{inner(expr.expr)}"
        case _:
            return to_text(expr)


@pytest.mark.parametrize("text", GROUPED)
def test_precedence(text: str) -> None:
    assert grouped(parse(text)) == GROUPED[text].replace("-2)", "-2s)")


def test_vector_matching() -> None:
    expr = parse("a / bool on (x, y) group_left (z,) b".replace("/ bool", ">= bool"))
    assert expr == Binary(
        BinaryOp.GE,
        metric("a"),
        metric("b"),
        True,
        VectorMatching(Cardinality.MANY_TO_ONE, True, ("x", "y"), ("z",)),
    )
    assert parse("a * ignoring () group_right b") == Binary(
        BinaryOp.MUL, metric("a"), metric("b"), False, VectorMatching(Cardinality.ONE_TO_MANY)
    )
    assert parse("a and b") == Binary(
        BinaryOp.AND, metric("a"), metric("b"), False, VectorMatching(Cardinality.MANY_TO_MANY)
    )
    both = parse("a + fill (0) b", features=FEATURES)
    assert isinstance(both, Binary)
    assert both.matching == VectorMatching(fill_left=0.0, fill_right=0.0)
    sides = parse("a + on (x) fill_right(-1) fill_left(NaN) b", features=FEATURES)
    assert isinstance(sides, Binary)
    assert sides.matching is not None
    assert (str(sides.matching.fill_left), sides.matching.fill_right) == ("nan", -1.0)


def test_matching_is_only_between_vectors() -> None:
    expr = parse("a + 1")
    assert isinstance(expr, Binary)
    assert expr.matching is None
    assert type_of(expr) is ValueType.VECTOR
    assert type_of(parse("-(1 + time())")) is ValueType.SCALAR
    assert type_of(parse("a[5m]")) is ValueType.MATRIX
    assert type_of(parse("'a'")) is ValueType.STRING


def test_aggregations_take_their_labels_before_or_after() -> None:
    wanted = Aggregate(AggregateOp.TOPK, metric("x"), NumberLiteral(3.0), ("a",), True)
    assert parse("topk without (a) (3, x)") == wanted
    assert parse("TOPK(3, x) without (a)") == wanted
    assert parse("sum(x)") == parse("sum by () (x)") == Aggregate(AggregateOp.SUM, metric("x"))


def test_comments_and_space() -> None:
    text = 'sum( # total\n  rate(x{a="b", # c\n}[5m])\n)'
    assert parse(text) == parse('sum(rate(x{a="b"}[5m]))')


def test_positions_of_nodes() -> None:
    text = '1 + sum by (a) ( rate(x{b="c"}[5m] offset 1m) ) '
    places = {type(node).__name__: text[node.start : node.end] for node in walk(parse(text))}
    assert places == {
        "Binary": text.rstrip(),
        "NumberLiteral": "1",
        "Aggregate": 'sum by (a) ( rate(x{b="c"}[5m] offset 1m) )',
        "Call": 'rate(x{b="c"}[5m] offset 1m)',
        "MatrixSelector": 'x{b="c"}[5m] offset 1m',
        "VectorSelector": 'x{b="c"}',
    }


def test_info_may_select_everything() -> None:
    expr = parse("info(x, {})", features=FEATURES)
    assert isinstance(expr, Call)
    assert expr.args[1] == VectorSelector("", ())


REFUSED = {
    "": "1:1: parse error: no expression found in input",
    "# only a comment": "1:1: parse error: no expression found in input",
    "(": "1:2: parse error: unclosed left parenthesis",
    "a)": "1:2: parse error: unexpected right parenthesis ')'",
    "a]": "1:2: parse error: unexpected right bracket ']'",
    "1 +": "1:4: parse error: unexpected end of input",
    "a b": '1:3: parse error: unexpected identifier "b"',
    "a\n  + * b": "2:5: parse error: unexpected <op:*>",
    "a @@": "1:4: parse error: unexpected <op:@> in @, expected timestamp",
    "a @ b": '1:5: parse error: unexpected identifier "b" in @, expected timestamp',
    "a @ Inf": "1:1: parse error: timestamp out of bounds for @ modifier: +Inf",
    "a @ 1 @ 2": "1:1: parse error: @ <timestamp> may not be set multiple times",
    "a offset": "1:9: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
    "a offset 1m offset 2m": "1:1: parse error: offset may not be set multiple times",
    "1 offset 1m": (
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector"
        " or a subquery"
    ),
    "a offset 1m[5m]": "1:12: parse error: no offset modifiers allowed before range",
    "a @ 1[5m]": "1:6: parse error: no @ modifiers allowed before range",
    "(a + b)[5m]": "1:8: parse error: ranges only allowed for vector selectors",
    "a[]": (
        '1:3: parse error: unexpected "]" in subquery or range selector,'
        " expected number, duration, step(), or range()"
    ),
    "a[0m]": "1:3: parse error: duration must be greater than 0",
    "a[-5m]": "1:3: parse error: duration must be greater than 0",
    "a[5m:0s]": "1:6: parse error: duration must be greater than 0",
    "a[5m": "1:5: parse error: unclosed left bracket",
    "a[": "1:3: parse error: unexpected end of input in duration expression",
    "a[5mm]": '1:3: parse error: bad number or duration syntax: "5mm"',
    "a[5m1h]": '1:3: parse error: not a valid duration string: "5m1h"',
    "a[1hs]": '1:3: parse error: unknown unit "hs" in duration "1hs"',
    "a['5m']": "1:3: parse error: unexpected character in duration expression: '''",
    "a[5m 5m]": '1:6: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]"',
    "a[5m:1m:1m]": "1:8: parse error: unexpected colon ':'",
    "a[5m][1m:]": "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
    "1_": '1:1: parse error: bad number or duration syntax: "1_"',
    "0o17": '1:1: parse error: bad number or duration syntax: "0o17"',
    '"a': "1:1: parse error: unterminated quoted string",
    "`a": "1:1: parse error: unterminated raw string",
    '"\\c"': "1:1: parse error: unknown escape sequence U+0063 'c'",
    '"\\x.."': "1:1: parse error: illegal character U+002E '.' in escape sequence",
    '"\\ud800"': "1:1: parse error: escape sequence is an invalid Unicode code point",
    "a{": "1:3: parse error: unexpected end of input inside braces",
    "a{b}": '1:4: parse error: unexpected "}" in label matching, expected label matching operator',
    "a{b=c}": '1:5: parse error: unexpected identifier "c" in label matching, expected string',
    "a{,}": '1:3: parse error: unexpected "," in label matching, expected identifier or "}"',
    'a{b="c" d}': '1:9: parse error: unexpected identifier "d" in label matching, expected "," or "}"',
    "a{1}": "1:3: parse error: unexpected character inside braces: '1'",
    "{}": "1:1: parse error: vector selector must contain at least one non-empty matcher",
    '{a=~".*",b!="c"}': "1:1: parse error: vector selector must contain at least one non-empty matcher",
    'a{__name__="b"}': '1:1: parse error: metric name must not be set twice: "a" or "b"',
    "-'a'": (
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector,"
        ' got "string"'
    ),
    "rate(a)": (
        '1:6: parse error: expected type range vector in call to function "rate", got instant vector'
    ),
    "floor()": '1:1: parse error: expected 1 argument(s) in call to "floor", got 0',
    "label_join(a, 'b')": '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2',
    "hour(a, a)": '1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2',
    "nothing(a)": '1:1: parse error: unknown function with name "nothing"',
    "floor(a,)": "1:8: parse error: trailing commas not allowed in function call args",
    "sum()": "1:1: parse error: no arguments for aggregate expression provided",
    "topk(a)": (
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"
    ),
    "topk('a', b)": "1:6: parse error: expected type scalar in aggregation parameter, got string",
    "sum(1)": "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
    "sum by a (b)": '1:8: parse error: unexpected identifier "a" in grouping opts, expected "("',
    "sum by (a b) (c)": '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"',
    "sum by (1) (c)": '1:9: parse error: unexpected number "1" in grouping opts, expected label',
    "sum(a) by (b) by (c)": "1:15: parse error: unexpected <by>",
    "sum(a b)": '1:7: parse error: unexpected identifier "b" in aggregation',
    "1 == 1": "1:3: parse error: comparisons between scalars must use BOOL modifier",
    "a + bool b": "1:3: parse error: bool modifier can only be used on comparison operators",
    "1 and a": '1:1: parse error: set operator "and" not allowed in binary scalar expression',
    "a and on (b) group_left c": '1:1: parse error: no grouping allowed for "and" operation',
    "a + on (b) 1": "1:1: parse error: vector matching only allowed between instant vectors",
    "a + on (b) group_left (b) c": (
        '1:3: parse error: label "b" must not occur in ON and GROUP clause at once'
    ),
    "a + 'b'": "1:5: parse error: binary expression must contain only scalar and instant vector types",
    "a =~ b": "1:3: parse error: unexpected character after '=': '~'",
    "a ! b": "1:3: parse error: unexpected character after '!': ' '",
    "a ; b": "1:3: parse error: unexpected character: ';'",
    "a + group_left b": "1:5: parse error: unexpected <group_left>",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused_queries(text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse(text)
    assert str(caught.value) == REFUSED[text]
    line, column, _ = str(caught.value).split(":", 2)
    assert (caught.value.line, caught.value.column) == (int(line), int(column))
    assert 0 <= caught.value.start <= caught.value.end <= len(text)


BEHIND_FEATURES = {
    "limitk(1, a)": "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    "mad_over_time(a[5m])": 'function "mad_over_time" is not enabled',
    "a[5m + 1m]": "experimental duration expression is not enabled",
    "a offset (1m)": "experimental duration expression is not enabled",
    "a[step()]": "experimental duration expression is not enabled",
    "a[5m] anchored": "anchored modifier is experimental and not enabled",
    "a smoothed": "smoothed modifier is experimental and not enabled",
    "a + fill(0) b": "binop fill modifiers are experimental and not enabled",
}


@pytest.mark.parametrize("text", BEHIND_FEATURES)
def test_experimental_parts_need_their_feature(text: str) -> None:
    parse(text, features=FEATURES)
    with pytest.raises(BadQuery, match=re.escape(BEHIND_FEATURES[text])):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a[5m] anchored smoothed", "anchored and smoothed modifiers cannot be used together"),
        ("a[5m:] smoothed", "smoothed modifier is not supported for subqueries"),
        ("rate(a[5m]) anchored", "anchored modifier not implemented"),
        ("a[5m / 0]", "division by zero"),
        ("a[5m % 0]", "modulo by zero"),
        ("a and fill(0) b", "filling in missing series not allowed for set operators"),
        ("a + fill(0) 1", "filling in missing series only allowed between instant vectors"),
        ("info(a, b)", "expected label selectors only, got vector selector instead"),
        ("info(a, {x='y'} == 1)", "expected label selectors only"),
        ("histogram_quantiles(a, 'q')", "expected at least 3 argument(s)"),
        ("a + fill(0) fill_left(1) b", "unexpected <fill_left>"),
    ],
)
def test_refused_with_all_features(text: str, message: str) -> None:
    with pytest.raises(BadQuery, match=re.escape(message)):
        parse(text, features=FEATURES)


def test_invalid_regular_expressions_name_their_place() -> None:
    with pytest.raises(BadQuery, match=r"1:3: parse error: invalid regular expression") as caught:
        parse('a{b=~"("}')
    assert 'a{b=~"("}'[caught.value.start : caught.value.end] == 'b=~"("'


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "-" * 5000 + "a",
        "a" + "[1m:]" * 5000,
        "sum(" * 5000 + "a" + ")" * 5000,
        "a ^ " * 5000 + "a",
        "a + " * 5000 + "a",
        "a[" + "(" * 5000 + "5m" + ")" * 5000 + "]",
        "a[" + "-" * 5000 + "5m]",
        "a[" + "5m + " * 5000 + "5m]",
        "x" * (MAX_LENGTH + 1),
    ],
    ids=[
        "parens",
        "signs",
        "subqueries",
        "calls",
        "powers",
        "sums",
        "durations",
        "duration signs",
        "sum",
        "long",
    ],
)
def test_monsters_are_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse(text, features=FEATURES)


def test_long_chains_that_people_write_are_taken() -> None:
    assert isinstance(parse(" or ".join(f"m{index}" for index in range(250))), Binary)
    assert isinstance(parse("(" * 50 + "a" + ")" * 50), Paren)


def test_selectors_of_match_parameters() -> None:
    assert parse_selector('up{job="a"}') == (
        Matcher("job", MatchOp.EQUAL, "a"),
        Matcher("__name__", MatchOp.EQUAL, "up"),
    )
    for text in ("sum(up)", "up[5m]", "up offset 5m", "up @ 1", "", "{}"):
        with pytest.raises(BadQuery):
            parse_selector(text)


def test_walk_yields_every_node_parents_first() -> None:
    expr = parse("topk(1, sum(a) + b[5m:] )".replace("b[5m:] ", "max_over_time(b[5m:])"))
    nodes = list(walk(expr))
    assert nodes[0] is expr
    for parent in nodes:
        for child in children(parent):
            assert nodes.index(child) > nodes.index(parent)
    assert sum(isinstance(node, VectorSelector) for node in nodes) == 2


def test_every_expression_of_the_conformance_files_parses(shared: Path) -> None:
    refused: list[str] = []
    count = 0
    for path in sorted((shared / "conformance" / "promqltest").glob("*.test")):
        for command in read_commands(path.read_text(encoding="utf-8")):
            if not isinstance(command, Eval):
                continue
            count += 1
            try:
                parse(command.expr, features=FEATURES)
            except BadQuery as error:
                if command.fail is None:
                    refused.append(f"{path.name}:{command.line}: {command.expr}: {error}")
    assert refused == []
    assert count > 2000


PIECES = st.sampled_from(
    [
        "a", "1", "5m", "(", ")", "[", "]", "{", "}", ",", ":", "+", "-", "*", "^", "==", "bool", "on", "by", "sum",
        "rate", "offset", "@", "start", "step", '"x"', "'", "`", "\\", "#", "\n", "=~", "!", "and", "fill", "0x", "e",
        "_", ".", "é", "\ud800", "anchored", "group_left", "</", "\x00",
    ]
)  # fmt: skip


@given(
    st.one_of(
        st.text(max_size=60), st.lists(PIECES, max_size=25).map(" ".join), st.lists(PIECES).map("".join)
    )
)
def test_any_text_gives_a_tree_or_bad_query(text: str) -> None:
    try:
        expr = parse(text, features=FEATURES)
    except BadQuery as error:
        place = error.start
    else:
        place = expr.start
        assert to_text(parse(to_text(expr), features=FEATURES)) == to_text(expr)
    assert 0 <= place <= len(text)
