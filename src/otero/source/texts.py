"""Texts and files of either format."""

import os
from pathlib import Path

from otero.errors import BadConfig, Problem
from otero.source.json_text import parse_json
from otero.source.nodes import MAX_BYTES, Node
from otero.source.yaml_text import parse_yaml


def parse(text: str | bytes, file: str = "") -> Node:
    """A JSON text when its file's name ends in `.json`, else a YAML text. Raises BadConfig."""
    if file.lower().endswith(".json"):
        return parse_json(text, file)
    return parse_yaml(text, file)


def read_file(path: Path) -> bytes:
    """The bytes of a file of bounded size. Raises BadConfig when it cannot be read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadConfig(Problem(f"cannot be read: {error.strerror or error}", str(path))) from None
    except ValueError as error:
        raise BadConfig(Problem(f"cannot be read: {error}", str(path))) from None
    if len(data) > MAX_BYTES:
        raise BadConfig(Problem(f"larger than {MAX_BYTES >> 20} MiB", str(path)))
    return data


def is_file(path: str | Path) -> bool:
    """Whether it is a file that can be seen; False for paths that the system refuses, such as too long ones."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for those)


def exists(path: str | Path) -> bool:
    """As `is_file`, for anything that a path can lead to."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for those)
