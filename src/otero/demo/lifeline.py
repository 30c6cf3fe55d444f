"""How a child of the demo ends with its parent, whatever happens to that one.

On Linux the kernel kills the child when its parent dies. Everywhere the child watches its standard input, a pipe whose
other end the parent alone holds: it ends when the parent does.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` dies; exits at once if it has died already.

    Does nothing on systems other than Linux.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be asked for
        os._exit(1)
