import fcntl
import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class GoOracle:
    """Go's own templates, in a process that answers line by line."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, template: str, data: dict[str, Any], *, html: bool = False) -> tuple[str, str]:
        """(text, error) of a template; one of them is empty."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "Template": template,
            "HTML": html,
            "Data": {k: v for k, v in data.items() if k not in ("Labels", "Floats", "Ints")},
            **{k: data[k] for k in ("Labels", "Floats", "Ints") if k in data},
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["Text"], answer["Error"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoOracle]:
    if shutil.which("go") is None:
        pytest.skip(
            "go is not installed (apt-get install golang-go): Go's templates are the oracle of these tests"
        )
    folder = tmp_path_factory.getbasetemp().parent
    source = Path(__file__).parent / "oracle" / "main.go"
    program = folder / f"gotemplate-oracle-{zlib.crc32(source.read_bytes()):08x}"
    with (folder / "gotemplate-oracle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel workers build it once
        if not program.exists():
            environ = {**os.environ, "GOPROXY": "off", "GO111MODULE": "off"}
            subprocess.run(["go", "build", "-o", program, source], check=True, env=environ, timeout=600)
    oracle = GoOracle(program)
    yield oracle
    oracle.close()
