"""Alertmanager's matcher syntax: what is understood, what is refused and where, and the way back to text."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otero.alerting.matchers import (
    in_order,
    matcher_text,
    matchers_text,
    matches,
    parse_classic,
    parse_matcher,
    parse_matchers,
    parse_utf8,
)
from otero.errors import BadQuery
from otero.model.matchers import Matcher, MatchOp

EQUAL, NOT_EQUAL, REGEX, NOT_REGEX = MatchOp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("{}", []),
        (" { } ", []),
        ("foo=bar", [("foo", EQUAL, "bar")]),
        ("{foo=bar,}", [("foo", EQUAL, "bar")]),
        ('foo != "bar" , baz =~ "a|b"', [("foo", NOT_EQUAL, "bar"), ("baz", REGEX, "a|b")]),
        ("foo!~[a-z]+", [("foo", NOT_REGEX, "[a-z]+")]),
        ("foo=🙂bar", [("foo", EQUAL, "🙂bar")]),
        ('"my.label"="x y"', [("my.label", EQUAL, "x y")]),
        ("my.label=x", [("my.label", EQUAL, "x")]),
        (r'foo="a\tb\n\u00e9\xc3\xa9\\"', [("foo", EQUAL, "a\tb\néé\\")]),
        ('foo=""', [("foo", EQUAL, "")]),
        ("foo\u202f=\u3000bar", [("foo", EQUAL, "bar")]),
    ],
)
def test_the_utf8_syntax(text: str, expected: list[tuple[str, MatchOp, str]]) -> None:
    assert list(parse_utf8(text)) == [Matcher(*each) for each in expected]


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        (",", 1, "unexpected ,: expected label name"),
        ("{", 2, "end of input: expected close brace"),
        ("}", 1, "unexpected }: expected opening brace"),
        ("foo=bar}", 8, "unexpected }: expected opening brace"),
        ("{foo=bar", 9, "end of input: expected close brace"),
        ("foo", 4, "end of input: expected an operator"),
        ("foo=", 5, "end of input: expected label value"),
        ('{foo=:"bar"}', 7, 'unexpected "bar": expected a comma or close brace'),
        (r'{foo="bar\w"}', 6, r"unknown escape sequence"),
        (r"{foo=bar\n}", 9, "unexpected \\: invalid input"),
        (r'foo="\xf0\x9f"', 5, "not valid UTF-8"),
        ('foo="bar', 5, "unterminated quoted string"),
        ('foo="a\nb"', 5, "unterminated quoted string"),
        ("a=b c=d", 5, "unexpected c: expected a comma or close brace"),
        ("a=b} c", 4, "expected opening brace"),
        ("{a=b} c", 7, "unexpected c: expected end of input"),
        ("a=b,,c=d", 5, "unexpected ,: expected label name"),
        ("a!b", 2, "unexpected !: invalid input"),
        ('a=~"("', 4, "invalid regular expression"),
    ],
)
def test_the_utf8_syntax_refuses_and_says_where(text: str, column: int, reason: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_utf8(text)
    assert reason in str(refused.value)
    assert (refused.value.line, refused.value.column) == (1, column)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("{}", []),
        ("}", []),
        ("{a=b", [("a", EQUAL, "b")]),
        ("a=b}", [("a", EQUAL, "b")]),
        ("a=", [("a", EQUAL, "")]),
        (" a == b ", [("a", EQUAL, "= b")]),
        ("a=b c, d = e ,  ", [("a", EQUAL, "b c"), ("d", EQUAL, "e")]),
        (r'a="x\"y,\n\\\q"', [("a", EQUAL, 'x"y,\n\\\\q')]),
        ('a="x\ny"', [("a", EQUAL, "x\ny")]),
        ("a=x\\", [("a", EQUAL, "x\\")]),
        (r"a=~\d+", [("a", REGEX, r"\d+")]),
        ("a:b=c{d}", [("a:b", EQUAL, "c{d")]),
    ],
)
def test_the_classic_syntax_is_lenient(text: str, expected: list[tuple[str, MatchOp, str]]) -> None:
    assert list(parse_classic(text)) == [Matcher(*each) for each in expected]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a", "bad matcher format: a"),
        ("a=b,,c=d", "bad matcher format: "),
        (",", "bad matcher format: "),
        ("a-b=c", "bad matcher format: a-b=c"),
        ('a="b', 'unescaped double quote: "b'),
        ('a=b"', 'unescaped double quote: b"'),
        ('a="b"c"', 'unescaped double quote: "b"c"'),
        (r'a="b\"', r'unescaped double quote: "b\"'),
        ("a=~*", "invalid regular expression"),
    ],
)
def test_the_classic_syntax_refuses(text: str, reason: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_classic(text)
    assert reason in str(refused.value)


def test_both_syntaxes_agree_silently() -> None:
    parsed = parse_matchers('{alertname="Down", severity=~"page|warn"}')
    assert parsed.warning == ""
    assert matchers_text(parsed.matchers) == '{alertname="Down",severity=~"page|warn"}'


def test_what_only_the_classic_syntax_understands_is_taken_with_advice() -> None:
    parsed = parse_matchers("service=~^(foo1|foo2)$, team = a b")
    assert [matcher.value for matcher in parsed.matchers] == ["^(foo1|foo2)$", "a b"]
    assert 'write it as service=~"^(foo1|foo2)$",team="a b"' in parsed.warning


def test_where_the_syntaxes_disagree_the_classic_one_wins_with_a_warning() -> None:
    parsed = parse_matchers(r'foo="\u0062"')
    assert parsed.matchers == (Matcher("foo", EQUAL, r"\u0062"),)
    assert "differently" in parsed.warning
    assert parse_matcher(r'foo="\u0062"').matchers == parsed.matchers


def test_what_only_the_utf8_syntax_understands_needs_no_warning() -> None:
    parsed = parse_matchers('"my.label"="x"')
    assert parsed.matchers == (Matcher("my.label", EQUAL, "x"),)
    assert parsed.warning == ""


def test_what_no_syntax_understands_is_refused_in_the_classic_words_with_the_column() -> None:
    with pytest.raises(BadQuery, match=r"bad matcher format: severity ~ page \(column 10: ") as refused:
        parse_matchers("severity ~ page")
    assert refused.value.start == 9


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{a=b}", "unexpected open or close brace"),
        ("", "bad matcher format: "),
        ('"a b"="c","d"="e"', "expected 1 matcher, found 2"),
    ],
)
def test_a_single_matcher(text: str, reason: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_matcher(text)
    assert reason in str(refused.value)
    assert parse_matcher("a=b,c").matchers == (Matcher("a", EQUAL, "b,c"),)


def test_the_order_of_keys_of_routes() -> None:
    mixed = [
        Matcher("b", EQUAL, "1"),
        Matcher("a", NOT_REGEX, "1"),
        Matcher("a", REGEX, "1"),
        Matcher("a", EQUAL, "2"),
        Matcher("a", NOT_EQUAL, "1"),
        Matcher("a", EQUAL, "1"),
    ]
    assert matchers_text(in_order(mixed)) == '{a="1",a!="1",a=~"1",a!~"1",a="2",b="1"}'


def test_an_absent_label_is_an_empty_one() -> None:
    assert matches(parse_matchers('a="",b!="x"').matchers, {"c": "d"})
    assert not matches(parse_matchers('a!=""').matchers, {"c": "d"})


UTF8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.one_of(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True), UTF8.filter(bool))
PLAIN = st.builds(Matcher, NAMES, st.sampled_from([EQUAL, NOT_EQUAL]), UTF8)
PATTERNS = st.builds(
    Matcher, NAMES, st.sampled_from([REGEX, NOT_REGEX]), st.sampled_from(["a|b", ".*", r"\d+\"", ""])
)


@given(st.lists(PLAIN | PATTERNS, max_size=4))
@example([Matcher("a,b", EQUAL, "x\ny")])
@example([Matcher("a", EQUAL, "\\"), Matcher("b", EQUAL, '"')])
def test_what_is_printed_reads_back(matchers: list[Matcher]) -> None:
    assert parse_matchers(matchers_text(matchers)).matchers == tuple(matchers)
    for matcher in matchers:
        assert parse_matcher(matcher_text(matcher)).matchers == (matcher,)


def fault_of(parse: Callable[[str], object], text: str) -> BadQuery | None:
    try:
        parse(text)
    except BadQuery as error:
        return error
    return None


@given(st.text(st.sampled_from('ab=!~"\\{},n \n('), max_size=14))
def test_any_text_is_understood_or_refused_in_its_bounds(text: str) -> None:
    for parse in (parse_utf8, parse_classic):
        if fault := fault_of(parse, text):
            assert 0 <= fault.start <= fault.end <= len(text)
            assert fault.line == text.count("\n", 0, fault.start) + 1


def test_long_texts_take_time_in_proportion() -> None:
    assert parse_matchers(" " * 200_000).matchers == ()
    with pytest.raises(BadQuery):
        parse_matchers("a" + " " * 200_000 + "\\")
    assert len(parse_matchers(",".join(["a=b"] * 20_000)).matchers) == 20_000
