"""What root may do beyond others: a child of root's keeps no more than the right to open files.

capabilities(7): a program that root starts gets what is in its bounding set, or inherited.
"""

import ctypes
import os

from cutmv.media.sandbox import kernel

#: linux/capability.h: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, to open what the parent could.
KEPT = (1, 2)
#: More than there are.
END = 64
#: _LINUX_CAPABILITY_VERSION_3, whose sets are two words: each effective, permitted, inheritable.
VERSION = 0x20080522


def drop() -> None:
    """Give up, for what this process becomes, all that root may do but to open files."""
    if os.geteuid() != 0:
        return
    for number in range(END):
        try:
            if number not in KEPT and kernel.prctl(kernel.PR_CAPBSET_READ, number):
                kernel.prctl(kernel.PR_CAPBSET_DROP, number)
        except OSError:  # there is no such, or no right to drop any
            continue
    header, sets = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    kernel.capget(header, sets)
    sets[2] = sets[5] = 0
    kernel.capset(header, sets)
