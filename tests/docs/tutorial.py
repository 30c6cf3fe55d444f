"""Runs a tutorial as a reader would: writes its files, types its commands, compares what comes with what it shows.

A block after a line such as `app.py`: is a file. A block of `sh` is typed into one shell. A block of `text` after it is
what it prints, `…` standing for anything; until that comes, the commands are typed again, as data takes time to arrive.
"""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0
_BLOCK = re.compile(
    r"(?:^`(?P<file>[\w./-]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_END = "--- end of the block ---"


@dataclass(frozen=True)
class Step:
    """A file to write, or commands to type and what they print."""

    file: str | None
    text: str
    output: str | None


def steps_of(markdown: str) -> Sequence[Step]:
    """The steps of a tutorial in their order."""
    steps: list[Step] = []
    for block in _BLOCK.finditer(markdown):
        if block["kind"] == "text":
            assert steps[-1].file is None, "output belongs to commands"
            steps[-1] = Step(None, steps[-1].text, block["text"])
        else:
            assert (block["file"] is None) == (block["kind"] == "sh"), (
                f"no file is named for: {block['text'][:80]}"
            )
            steps.append(Step(block["file"], block["text"], None))
    return steps


def fits(printed: str, shown: str) -> bool:
    """Whether what was printed is what is shown: `…` in a line is anything, a line of its own any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.strip().splitlines()
    )
    return re.fullmatch(pattern, printed.strip() + "\n") is not None


class Shell:
    """One bash, in which jobs in the background live on."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)

    def type(self, commands: str) -> str:
        """What they print."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{commands}\necho; echo '{_END}'\n")
        self._process.stdin.flush()
        printed: list[str] = []
        while (line := self._lines.get(timeout=PATIENCE_S)) != f"{_END}\n":
            printed.append(line)
        return "".join(printed)

    def end(self) -> None:
        """End the shell and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        if self._process.stdin is not None:
            self._process.stdin.close()


def follow(steps: Sequence[Step], shell: Shell, folder: Path) -> None:
    """Take all steps."""
    for step in steps:
        if step.file is not None:
            (folder / step.file).write_text(step.text)
            continue
        deadline_s = time.monotonic() + PATIENCE_S
        printed = shell.type(step.text)
        while step.output is not None and not fits(printed, step.output):
            assert time.monotonic() < deadline_s, f"{step.text}\nprints\n{printed}\nnot\n{step.output}"
            time.sleep(0.5)
            printed = shell.type(step.text)
