"""Calls of the Linux kernel that Python has no function for."""

import ctypes
import os
import sys

#: prctl(2), by linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_SECCOMP = 1, 22
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38

#: Whether the kernel is one whose protections are known here; others have limits alone.
IS_LINUX = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True) if IS_LINUX else None


def prctl(option: int, argument: int = 0, pointer: object = 0) -> int:
    """Call prctl(2). Raises OSError."""
    return _checked("prctl", ctypes.c_int(option), ctypes.c_ulong(argument), _word(pointer), 0, 0)


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel by a call's number. Raises OSError."""
    return _checked("syscall", ctypes.c_long(number), *(_word(each) for each in arguments))


def capget(header: object, data: object) -> int:
    """Call capget(2). Raises OSError."""
    return _checked("capget", header, data)


def capset(header: object, data: object) -> int:
    """Call capset(2). Raises OSError."""
    return _checked("capset", header, data)


def machine() -> str:
    """The name of the processor's architecture, as `uname -m` shows it."""
    return os.uname().machine


def _word(argument: object) -> object:
    return ctypes.c_ulong(argument) if isinstance(argument, int) else argument


def _checked(function: str, *arguments: object) -> int:
    if _libc is None:
        raise OSError("this is no Linux")
    ctypes.set_errno(0)
    result = int(getattr(_libc, function)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
