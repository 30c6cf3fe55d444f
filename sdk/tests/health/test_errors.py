import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero_sdk.health.errors import MAX_LENGTH, safe_error, safe_text

secret = st.text(
    st.characters(
        codec="ascii", exclude_characters=" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f/,;&)}]'\"@", min_codepoint=33
    ),
    min_size=4,
    max_size=20,
).map(lambda text: f"S{text}E")


@given(
    secret,
    st.sampled_from(
        [
            "could not connect to postgresql://shop:{}@db:5432/shop",
            "redis://:{}@cache:6379/0 refused",
            "https://{}@api.example.com/ answered 500",
            "connection to host=db password={} dbname=shop failed",
            "{{'api_key': '{}', 'user': 'ada'}}",
            'PGPASSWORD="{}" is wrong',
            "?access_token={}&page=2",
            "secret: {}",
        ]
    ),
)
def test_credentials_are_never_shown(secret: str, text: str) -> None:
    assert secret not in safe_text(text.format(secret))
    assert secret not in safe_error(ConnectionError(text.format(secret)))


def test_bearer_tokens() -> None:
    assert safe_text("Authorization: Bearer abc.def-ghi") == "Authorization: ***"
    assert safe_text("sent bearer abcdefgh to it") == "sent bearer *** to it"


@pytest.mark.parametrize(
    "text",
    [
        "connection refused",
        "no route to host db:5432",
        "http://db:8080/health answered 503",
        "user@example.com",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert safe_text(text) == text


def test_one_short_line() -> None:
    assert safe_text("a\n  b\tc") == "a b c"
    assert len(safe_text("x" * 1000)) == MAX_LENGTH


def test_errors_that_cannot_be_printed() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert safe_error(Odd()) == "Odd"
    assert safe_error(TimeoutError()) == "TimeoutError"
