"""Reads the files of all worker processes as one, and adds up those of workers that are gone.

A worker's files outlive it, as its counts go on counting. A server that replaces its workers (`--max-requests`) would
collect files for ever; so a scrape first adds the files of dead workers to an archive, one for each type.

An archive is a file in prometheus-client's own format, `counter_archive-3.db`. Which files it contains is written beside
it before it appears, so that nothing counts twice however the process ends: what a present archive contains is ignored
and removed. One process at a time reads or archives; the others wait for it.
"""

import json
import os
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from otero_sdk.metrics.workers import alive

_file: Final = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_(\d+|archive-\d+)\.db")


def collect(folder: Path, *, archive: bool = True) -> list[Metric]:
    """The metrics of all processes together, dead ones included but for their live gauges.

    `archive=False` leaves the files of dead workers where they are, for a directory that others read too.
    """
    with _alone(folder):
        files = _present(folder)
        dead = {pid for _, pid in map(_parts, files) if pid.isdigit() and not alive(int(pid))}
        gone = [file for file in files if _parts(file)[1] in dead]
        for file in gone:
            if _parts(file)[0].startswith("gauge_live"):
                file.unlink(missing_ok=True)
        if archive:
            for kind in ("counter", "histogram", "summary"):
                _archive(folder, kind, [file for file in gone if _parts(file)[0] == kind])
        return list(MultiProcessCollector.merge([str(file) for file in _present(folder)], accumulate=True))


def processes(folder: Path) -> set[int]:
    """The processes that live and have written values."""
    pids = {int(pid) for _, pid in map(_parts, folder.glob("*.db")) if pid.isdigit()}
    return {pid for pid in pids if alive(pid)}


def values_by_process(folder: Path, kind: str, name: str) -> dict[int, float]:
    """The sum of a gauge's series in each process, by pid; `kind` is as in the file's name: gauge_livesum."""
    sums: dict[int, float] = {}
    for file in folder.glob(f"{kind}_*.db"):
        pid = _parts(file)[1]
        if pid.isdigit():
            for key, value, *_ in _entries(file):
                if json.loads(key)[1] == name:
                    sums[int(pid)] = sums.get(int(pid), 0.0) + value
    return sums


def _parts(file: Path) -> tuple[str, str]:
    found = _file.fullmatch(file.name)
    return (found[1], found[2]) if found else ("", "")


def _present(folder: Path) -> list[Path]:
    """The files that count. Those that an archive contains, left over by a process that was killed, are removed."""
    for contents in folder.glob("*_archive-*.json"):
        if contents.with_suffix(".db").exists():
            for name in json.loads(contents.read_text()):
                (folder / name).unlink(missing_ok=True)
                (folder / name).with_suffix(".json").unlink(missing_ok=True)
    # One that was just made has no bytes yet.
    return sorted(file for file in folder.glob("*.db") if _parts(file)[0] and file.stat().st_size)


def _archive(folder: Path, kind: str, dead: list[Path]) -> None:
    if not dead:
        return
    earlier = [file for file in folder.glob(f"{kind}_archive-*.db") if _parts(file)[0]]
    number = 1 + max((int(_parts(file)[1].removeprefix("archive-")) for file in earlier), default=0)
    merged = [*earlier, *dead]
    sums: dict[str, float] = {}
    for file in merged:
        for key, value, *_ in _entries(file):
            sums[key] = sums.get(key, 0.0) + value
    target = folder / f"{kind}_archive-{number}.db"
    unfinished = target.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    archive = MmapedDict(str(unfinished))
    for key, value in sums.items():
        archive.write_value(key, value, 0.0)
    archive.close()
    target.with_suffix(".json").write_text(json.dumps([file.name for file in merged]))
    unfinished.rename(target)


def _entries(file: Path) -> Iterable[tuple[str, float, float, int]]:
    try:
        return list(MmapedDict.read_all_values_from_file(str(file)))
    except FileNotFoundError:
        return ()


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    import fcntl  # there is none on Windows, nor servers that fork

    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
