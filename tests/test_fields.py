"""Durations, sizes, secrets, URLs and paths of configuration files."""

import copy
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.errors import BadField
from otero.fields import Duration, FilePath, Secret, Size, Url, dec_hook


@pytest.mark.parametrize(
    ("text", "milliseconds", "printed"),
    [
        ("0", 0, "0s"),
        ("15s", 15_000, "15s"),
        ("1h30m", 5_400_000, "1h30m"),
        ("90m", 5_400_000, "1h30m"),
        ("1d12h", 129_600_000, "1d12h"),
        ("36h", 129_600_000, "1d12h"),
        ("7d", 604_800_000, "1w"),
        ("8d", 691_200_000, "8d"),
        ("365d", 31_536_000_000, "1y"),
        ("250ms", 250, "250ms"),
        ("1y2w3d4h5m6s7ms", 33_019_506_007, "382d4h5m6s7ms"),
    ],
)
def test_durations_read_and_print_as_in_prometheus(text: str, milliseconds: int, printed: str) -> None:
    assert Duration.parse(text) == milliseconds
    assert str(Duration.parse(text)) == printed


@pytest.mark.parametrize(
    "text", ["", "1", "-1h", "1.5h", "1m1h", "1 h", "h", "1h " * 40, "999999999999y", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        Duration.parse(text)


@given(st.integers(0, 1 << 43))
def test_every_duration_survives_being_printed(milliseconds: int) -> None:
    assert Duration.parse(str(Duration(milliseconds)) if milliseconds else "0") == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("15MB", 15 << 20), ("15MiB", 15 << 20), ("1KB512B", 1536), ("1.5GB", 3 << 29), ("100B", 100)],
)
def test_sizes_are_binary(text: str, size: int) -> None:
    assert Size.parse(text) == size
    assert Size.parse(str(Size(size))) == size


@pytest.mark.parametrize("text", ["", "100", "-1GB", "1kB", "GB", "1GB2", "." * 80, "99999999EB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        Size.parse(text)


def test_a_secret_prints_itself_nowhere() -> None:
    class Holder(msgspec.Struct):
        password: Secret

    secret = Secret("hunter2")
    holder = msgspec.convert({"password": "hunter2"}, Holder, dec_hook=dec_hook)
    assert holder.password == secret
    assert hash(holder.password) == hash(secret)
    shown = (
        str(secret),
        repr(secret),
        f"{secret:>20}",
        str({"a": secret}),
        repr(holder),
        repr([secret]),
    )
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"
    assert (str(Secret("")), bool(Secret(""))) == ("", False)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="pickled"):
        copy.deepcopy(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(holder)


def test_urls_hide_their_password_and_say_what_is_missing() -> None:
    url = Url.parse("https://user:pa@ss@host:1/x")
    assert "pa" not in url.redacted().replace("path", "")
    assert Url.parse("http://host/a:b@c").redacted() == "http://host/a:b@c"
    for text in ("foo", "ftp://host", "http://"):
        with pytest.raises(BadField):
            Url.parse(text).require_http()
    for text in ("http://host:port", "http://a\nb", "http://[::1"):
        with pytest.raises(BadField):
            Url.parse(text)


def test_paths_start_at_the_folder_of_their_file() -> None:
    assert FilePath("a/b").resolve_in(Path("/etc")) == "/etc/a/b"
    assert FilePath("/a").resolve_in(Path("/etc")) == "/a"
    assert FilePath("").resolve_in(Path("/etc")) == ""
    with pytest.raises(BadField):
        FilePath.parse("a\0b")
