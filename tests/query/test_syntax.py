"""The parts that all query languages share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.query.syntax import complain, place, quote, scan_string, unquote


def test_places_count_from_one() -> None:
    assert [place("a\nbc", offset) for offset in range(5)] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


def test_complaints_carry_their_place() -> None:
    error = complain("ab\ncd", "no", 3, 5)
    assert str(error) == "2:1: parse error: no"
    assert (error.line, error.column, error.start, error.end) == (2, 1, 3, 5)


@given(
    st.text(
        alphabet=st.one_of(
            st.characters(exclude_categories=["Cs"]),
            st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
        )
    )
)
def test_quoted_texts_read_back(text: str) -> None:
    literal = quote(text)
    assert scan_string(literal, 0) == (len(literal), "")
    # Bytes that together are UTF-8 are the characters that they encode.
    assert unquote(literal) == text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


@given(st.text(alphabet="ab\"'`\\xuU07\n", max_size=12), st.sampled_from("\"'`"))
def test_any_literal_is_found_or_complained_about(body: str, mark: str) -> None:
    end, complaint = scan_string(mark + body, 0)
    assert (end == 0) == bool(complaint)
    if end:
        unquote((mark + body)[:end])


@pytest.mark.parametrize(
    ("literal", "complaint"),
    [
        ('"', "unterminated quoted string"),
        ("`", "unterminated raw string"),
        ('"a\nb"', "unterminated quoted string"),
        ('"\\', "escape sequence not terminated"),
        ('"\\x1', "escape sequence not terminated"),
        ("'\\\"'", "unknown escape sequence U+0022 '\"'"),
        ('"\\8"', "unknown escape sequence U+0038 '8'"),
        ('"\\09"', "illegal character U+0039 '9' in escape sequence"),
        ('"\\777"', "escape sequence is an invalid Unicode code point"),
        ('"\\U00110000"', "escape sequence is an invalid Unicode code point"),
    ],
)
def test_complaints_about_strings(literal: str, complaint: str) -> None:
    assert scan_string(literal, 0) == (0, complaint)
