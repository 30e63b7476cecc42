"""Landlock: which files a process may open, that it may connect to nothing, and signal nobody.

Linux's Documentation/userspace-api/landlock.rst. Each version of its interface (ABI) knows more;
what this kernel's does not know is left out. Paths are refused unless they are listed, so `/proc`
is, too. It holds for the process and all that it starts, for ever.
"""

import ctypes
import os
import stat
from collections.abc import Iterable

from cutmv.media.sandbox import kernel

#: The numbers of its calls, which are the same on all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
GET_VERSION, PATH_BENEATH = 1, 1
#: linux/landlock.h: LANDLOCK_ACCESS_FS_….
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REG, TRUNCATE = 1 << 5, 1 << 8, 1 << 14
IOCTL_DEV = 1 << 15
#: How many rights over files each version knows, from version 1 on.
FILE_RIGHTS = (13, 14, 15, 15, 16)
#: Both rights of the network (from version 4 on), and both scopes (from version 6 on): to connect
#: to an abstract Unix socket, or to signal a process, outside.
TCP, TCP_SINCE = 0b11, 4
SCOPES, SCOPES_SINCE = 0b11, 6

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
DEVICE = READ | WRITE_FILE | IOCTL_DEV
#: Those of these rights that a file can have, which is no folder.
OF_FILE = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """The version of the interface; 0 where the kernel has none, or has it turned off."""
    try:
        return kernel.syscall(CREATE_RULESET, 0, 0, GET_VERSION)
    except OSError:
        return 0


def restrict(rights: Iterable[tuple[str, int]]) -> None:
    """Hold this process to these rights over paths; those that are not there are left out.

    It must have no_new_privs. Raises OSError.
    """
    abi = version()
    known = (1 << FILE_RIGHTS[min(abi, len(FILE_RIGHTS)) - 1]) - 1
    ruleset = _Ruleset(known, TCP if abi >= TCP_SINCE else 0, SCOPES if abi >= SCOPES_SINCE else 0)
    # An older kernel takes a shorter structure.
    size = 8 if abi < TCP_SINCE else 16 if abi < SCOPES_SINCE else 24
    rules = kernel.syscall(CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    try:
        for path, wanted in rights:
            _allow(rules, path, wanted & known)
        kernel.syscall(RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it is not there, and so can't be opened later
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_FILE
        beneath = _Beneath(rights, place)
        kernel.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(place)
