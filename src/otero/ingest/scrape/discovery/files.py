"""file_sd: target groups in JSON or YAML files, which are read again when they change."""

import asyncio
import glob
import json
from pathlib import Path
from typing import Any

import msgspec
import yaml

from otero.errors import BadInput
from otero.ingest.scrape.discovery import LabelSets, Report, Trouble, label_sets, pause
from otero.ingest.scrape.discovery_config import FileSdConfig, TargetGroup

MAX_FILE = 32 << 20
_POLL_MS = 1000
_MAX_DEPTH = 20


class FileDiscovery:
    """Looks at the files' stamps every second (or at each `refresh_interval`, when that is shorter)."""

    def __init__(self, config: FileSdConfig) -> None:
        self._patterns = config.files
        self._poll_ms = min(int(config.refresh_interval) or _POLL_MS, _POLL_MS)
        self._stamps: dict[str, tuple[int, int, int]] = {}
        self._found: dict[str, LabelSets] = {}
        self._troubles: dict[str, Trouble] = {}

    async def run(self, report: Report) -> None:
        first = True
        while True:
            if await asyncio.to_thread(self.look) or first:
                report(dict(self._found))
            first = False
            await pause(self._poll_ms)

    def look(self) -> bool:
        """Read what changed; whether anything did. A file that cannot be read keeps its last good content."""
        changed = False
        paths = {path for pattern in self._patterns for path in glob.glob(pattern)}  # noqa: PTH207 (absolute patterns)
        for path in sorted(paths):
            trouble = self._troubles.setdefault(path, Trouble(path))
            try:
                status = Path(path).stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if self._stamps.get(path) == stamp:
                    continue
                self._stamps[path] = stamp
                self._found[path] = label_sets(read_groups(Path(path)), {"__meta_filepath": path})
                trouble.over()
                changed = True
            except OSError as error:
                trouble.say(str(error.strerror))
            except BadInput as error:
                trouble.say(str(error))
        for path in self._stamps.keys() - paths:
            del self._stamps[path]
            self._troubles.pop(path, None)
            changed |= self._found.pop(path, None) is not None
        return changed


def read_groups(path: Path) -> list[TargetGroup]:
    """The target groups of a file. Raises BadInput or OSError."""
    if path.stat().st_size > MAX_FILE:
        raise BadInput(f"larger than {MAX_FILE} bytes")
    data = path.read_bytes()
    if path.suffix.lower() == ".json":
        return json_groups(data)
    try:
        _check_depth(data)
        # BaseLoader: every scalar is text, as the values of labels are.
        return to_groups(yaml.load(data, Loader=yaml.CBaseLoader))  # noqa: S506 (makes nothing but text)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"not YAML: {error}") from None


def _check_depth(data: bytes) -> None:
    """Raises BadInput for nesting that would exhaust the C stack on which libyaml's trees are built."""
    depth = 0
    for event in yaml.parse(data, Loader=yaml.CBaseLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise BadInput(f"nested deeper than {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def json_groups(data: bytes) -> list[TargetGroup]:
    """The target groups of a JSON text. Raises BadInput."""
    try:
        return to_groups(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}") from None


def to_groups(value: Any) -> list[TargetGroup]:
    """Target groups from plain values; nothing at all is no groups. Raises BadInput."""
    if value in (None, ""):
        return []
    try:
        groups = msgspec.convert(value, list[TargetGroup])
    except msgspec.ValidationError as error:
        raise BadInput(f"not a list of target groups: {error}") from None
    return groups
