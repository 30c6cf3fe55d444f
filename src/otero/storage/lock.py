"""One Otero per data directory."""

import errno
import fcntl
import os
from pathlib import Path

from otero.errors import Conflict


class DirectoryLock:
    """Holds a data directory until `release`, or until the process ends however it ends.

    Raises Conflict when another process holds it, or when nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            why = "it is read-only" if error.errno in (errno.EROFS, errno.EACCES) else str(error.strerror)
            raise Conflict(
                f"cannot write to the data directory {folder}: {why}; choose another with --data"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise Conflict(
                f"the data directory {folder} is in use by another Otero (process {holder}); stop it, or choose another"
                " with --data"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)
