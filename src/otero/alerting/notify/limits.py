"""How much a service takes: texts cut to its bounds the way Alertmanager cuts them."""

_ELLIPSIS = "…"


def truncate(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut is told by an ellipsis, where there is room for one."""
    if len(text) <= limit:
        return text
    return text[:limit] if limit <= 3 else text[: limit - 1] + _ELLIPSIS


def truncate_bytes(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8 and no half of a character; three of them are the ellipsis of what was cut."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    room = limit - len(_ELLIPSIS.encode())
    return encoded[:room].decode("utf-8", "ignore") + _ELLIPSIS if room >= 0 else "." * limit


def split_list(text: str) -> list[str]:
    """The parts of a list with commas between, without the empty ones; spaces within stay."""
    return [part for part in text.strip().split(",") if part]
