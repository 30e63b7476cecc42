"""Keeps the secrets of a process from others of the same user."""

import ctypes
import sys
from functools import lru_cache

#: prctl(2): whether the process may be dumped; one that may not can't be traced or read either.
PR_SET_DUMPABLE = 4


@lru_cache(maxsize=1)
def hide_memory() -> None:
    """Keep others of this user from reading this process's memory and environment, on Linux.

    Its `/proc` folder belongs to root from now on, and it leaves no core dump. A child that is
    forked is hidden, too; a program that is started is not.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
