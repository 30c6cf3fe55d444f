"""Removes the demo's folder when the demo is gone, also when it could not do so itself.

Run as a process of its own: `python -m otero.demo.janitor FOLDER`. It ends when its standard input does, which is a pipe
that the demo holds.
"""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 10.0
"""How long to try again while a dying process still writes into the folder."""


def main(folder: Path) -> None:
    """Wait for the end of standard input, then remove the folder."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    sys.stdin.buffer.read()
    deadline_s = time.monotonic() + PATIENCE_S
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
