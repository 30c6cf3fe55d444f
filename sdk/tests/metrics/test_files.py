"""The files of several processes, made by real processes that are gone or still there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from otero_sdk.metrics import files, workers

WORKER = """
import sys
from otero_sdk import metrics
count = metrics.counter("jobs_total", "Jobs.", ["kind"])
count.labels(sys.argv[1]).inc(float(sys.argv[2]))
metrics.gauge("busy", "Busy.").inc()
metrics.histogram("size", "Sizes.", buckets=(1, 10)).observe(5)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that writes values and lives until its input closes."""
    started = []

    def start(kind: str, count: int) -> subprocess.Popen[str]:
        env = {**os.environ, workers.VARIABLE: str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, kind, str(count)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.communicate()


def found(folder: Path, *, archive: bool = True) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for metric in files.collect(folder, archive=archive)
        for sample in metric.samples
    }


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()


def test_dead_workers_are_counted_and_leave_no_files(tmp_path: Path, worker: Callable) -> None:
    first, second = worker("a", 2), worker("b", 3)
    assert files.processes(tmp_path) == {first.pid, second.pid}
    assert files.values_by_process(tmp_path, "gauge_livesum", "busy") == {first.pid: 1, second.pid: 1}
    before = found(tmp_path)
    assert before['jobs_total{"kind": "a"}'] == 2
    assert before["busy{}"] == 2
    end(first)
    after = found(tmp_path)
    assert after == {**before, "busy{}": 1.0}
    assert not [file for file in tmp_path.iterdir() if f"_{first.pid}.db" in file.name]
    third = worker("a", 10)
    end(second)
    end(third)
    last = found(tmp_path)
    assert last['jobs_total{"kind": "a"}'] == 12
    assert last['jobs_total{"kind": "b"}'] == 3
    assert last['size_bucket{"le": "10.0"}'] == 3
    assert last["size_sum{}"] == 15
    assert sorted(file.name for file in tmp_path.glob("*.db")) == [
        "counter_archive-2.db",
        "histogram_archive-2.db",
    ]
    assert found(tmp_path) == last


def test_a_process_killed_while_archiving_counts_nothing_twice(
    tmp_path: Path, worker: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = [worker("a", 2), worker("a", 3)]
    for process in processes:
        end(process)
    expected = 5.0

    class Killed(BaseException):
        pass

    real_rename, real_unlink = Path.rename, Path.unlink

    def killed(*_: object, **__: object) -> None:
        raise Killed

    for step in ("rename", "unlink"):
        monkeypatch.setattr(Path, step, killed)
        if step == "unlink":
            # The archive is there, the files that it contains are too.
            monkeypatch.setattr(
                Path,
                "unlink",
                lambda self, **options: real_unlink(self, **options) if self.suffix == ".tmp" else killed(),
            )
        with pytest.raises(Killed):
            found(tmp_path)
        monkeypatch.setattr(Path, "rename", real_rename)
        monkeypatch.setattr(Path, "unlink", real_unlink)
    assert found(tmp_path)['jobs_total{"kind": "a"}'] == expected
    assert found(tmp_path)['jobs_total{"kind": "a"}'] == expected
    assert len(list(tmp_path.glob("counter_*.db"))) == 1


def test_a_directory_of_the_users_is_not_archived(tmp_path: Path, worker: Callable) -> None:
    end(worker("a", 2))
    values = found(tmp_path, archive=False)
    assert values['jobs_total{"kind": "a"}'] == 2
    assert not list(tmp_path.glob("*archive*"))
    assert "busy{}" not in values


def test_an_empty_file_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    (tmp_path / "notes.txt").write_text("x")
    assert found(tmp_path) == {}
    MmapedDict(str(tmp_path / f"counter_{os.getpid()}.db")).close()
    assert found(tmp_path) == {}


def test_directories_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    script = "from otero_sdk import metrics; print(metrics.FOLDER)"
    env = {**os.environ, "TMPDIR": str(tmp_path), workers.SWITCH: "1"}
    base = tmp_path / f"otero-sdk-{os.getuid()}"
    base.mkdir(mode=0o700)
    (base / "999999999-1").mkdir()
    alive = base / f"{os.getpid()}-{workers._started(os.getpid())}"
    alive.mkdir()
    (base / f"{os.getpid()}-1").mkdir()
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert folder.parent == base
    assert not folder.exists(), "removed by its owner at exit"
    assert list(base.iterdir()) == [alive]


def test_a_directory_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    base = tmp_path / f"otero-sdk-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    env = {**os.environ, "TMPDIR": str(tmp_path), workers.SWITCH: "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from otero_sdk import metrics; assert metrics.FOLDER is None"],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "each worker process counts for itself" in done.stderr
    assert "is not a directory that only this user can write" in done.stderr
