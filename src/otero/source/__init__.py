"""Configuration text into plain or typed values, with the place of every key and value kept for error messages.

`parse` reads YAML or JSON into nodes; `Reader` turns nodes into msgspec Structs and collects every problem on its way.
"""

from otero.source.nodes import MAX_BYTES, List, Map, Node, Scalar, locate, plain
from otero.source.reader import FAILED, Present, Reader, Unserved, did_you_mean
from otero.source.texts import exists, is_file, parse, read_file
from otero.source.yaml_text import parse_yaml

from otero.source.json_text import parse_json  # isort: skip

__all__ = [
    "FAILED",
    "MAX_BYTES",
    "List",
    "Map",
    "Node",
    "Present",
    "Reader",
    "Scalar",
    "Unserved",
    "did_you_mean",
    "exists",
    "is_file",
    "locate",
    "parse",
    "parse_json",
    "parse_yaml",
    "plain",
    "read_file",
]
