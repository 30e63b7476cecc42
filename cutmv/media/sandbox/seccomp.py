"""A seccomp filter: calls of the kernel that no reader of a video needs, and an attacker does.

seccomp(2), and Linux's Documentation/userspace-api/seccomp_filter.rst. What is refused fails as if
the process had no right to it. It holds for the process and all that it starts, for ever.
"""

import ctypes
import errno
import os
import struct

from cutmv.media.sandbox import kernel

#: linux/audit.h: AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64, in the order of the numbers below.
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
#: Calls of x86_64 from this number on are those of its 32-bit pointers (x32): none is wanted.
X32 = 0x40000000
#: Calls that are refused, and their numbers on x86_64 and aarch64: asm/unistd_64.h and
#: asm-generic/unistd.h.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The network. `socketpair` reaches nobody, and is the way to the relay.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    # Other processes, and to leave the group in which this one is ended.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setsid": (112, 157), "setpgid": (109, 154),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # How others run, by their numbers; a thread of FFmpeg's that asks for more goes on without.
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    # Whose a file is, who may open it, its times: of any file whose path is known, whatever a
    # process may open of it.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466), "file_setattr": (469, 469),
    # What happens in folders.
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    # What all processes of a user share.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # What is mounted, and namespaces.
    "mount": (165, 40), "umount2": (166, 39), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268),
    # Keys, and files by what is no path.
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
    # Large parts of the kernel in which holes are found.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    # The machine.
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
}  # fmt: skip
#: Calls whose arguments decide.
CLONE, CLONE3 = (56, 220), (435, 435)
FORKS = ((57, None), (58, None))
KILLS, TKILL = ((62, 129), (234, 131)), (200, 130)
IOCTL = (16, 29)
#: Limits of the process whose number is the first argument; 0 is this one.
PRLIMIT = (302, 261)
#: linux/sched.h: a thread; and a new namespace of time, mounts, cgroups, names, IPC, users,
#: processes, network. The first is a bit of `clone`'s signal, and `clone` knows no namespace of it.
CLONE_THREAD, CLONE_NEW = 0x00010000, 0x7E020000
#: asm-generic/ioctls.h: to type into a terminal.
TIOCSTI = 0x5412

#: linux/bpf_common.h: load a word, jump if equal or not below or if a bit is set, return.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: Where `struct seccomp_data` has the call's number, the architecture, and the low half of an
#: argument; both architectures are little-endian.
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_AT = 0, 4, (16, 24)
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
SET_MODE_FILTER = 2

_Code = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def available() -> bool:
    """Whether the kernel takes a filter, and this architecture's calls are known here."""
    try:
        # It looks for a filter at address 0 only where it takes filters.
        kernel.prctl(kernel.PR_SET_SECCOMP, SET_MODE_FILTER)
    except OSError as error:
        return error.errno == errno.EFAULT and kernel.machine() in ARCHITECTURES
    return False


def restrict(parent: int, *, forks: bool) -> None:
    """Refuse calls from now on, and with `forks` not those that start another process.

    `parent` is the process that must not be signalled; who starts no other signals itself alone.
    It must have no_new_privs. Raises OSError.
    """
    code = [struct.pack("HBBI", *each) for each in _program(parent, forks=forks)]
    program = _Program(len(code), b"".join(code))
    kernel.prctl(kernel.PR_SET_SECCOMP, SET_MODE_FILTER, ctypes.byref(program))


def _program(parent: int, *, forks: bool) -> list[_Code]:
    column, architecture = ARCHITECTURES[kernel.machine()]
    code: list[_Code] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, REFUSE | errno.ENOSYS),
    ]
    refused = [*REFUSED.values(), *(() if forks else FORKS)]
    for numbers in refused:
        code += _if_called(numbers[column], [(RETURN, 0, 0, REFUSE | errno.EPERM)])
    # Its flags are in memory, where no filter can look; the C library then calls `clone`.
    code += _if_called(CLONE3[column], [(RETURN, 0, 0, REFUSE | errno.ENOSYS)])
    code += _if_called(CLONE[column], _of_clone(forks=forks))
    for numbers in KILLS:
        code += _if_called(numbers[column], _of_kill(parent) if forks else _of_own(os.getpid()))
    # It names a thread and not its process; the C library does not use it.
    code += _if_called(TKILL[column], [(RETURN, 0, 0, REFUSE | errno.EPERM)])
    code += _if_called(IOCTL[column], _unless((EQUAL, TIOCSTI), argument=1))
    code += _if_called(PRLIMIT[column], _unless((AT_LEAST, 1), argument=0))
    return [*code, (RETURN, 0, 0, ALLOW)]


def _if_called(number: int | None, then: list[_Code]) -> list[_Code]:
    return [] if number is None else [(EQUAL, 0, len(then), number), *then]


def _of_clone(*, forks: bool) -> list[_Code]:
    code: list[_Code] = [
        (LOAD, 0, 0, ARGUMENT_AT[0]),
        (ANY_BIT, 0, 1, CLONE_NEW),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
    ]
    if not forks:
        code += [(ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    return [*code, (RETURN, 0, 0, ALLOW)]


def _of_kill(parent: int) -> list[_Code]:
    """Refuse the parent, and groups: a negative number is a large one here."""
    return [
        (LOAD, 0, 0, ARGUMENT_AT[0]),
        (EQUAL, 1, 0, parent),
        (AT_LEAST, 0, 1, 0x80000000),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]


def _of_own(process: int) -> list[_Code]:
    """Refuse all processes but this one, whose number exec(2) keeps."""
    return [
        (LOAD, 0, 0, ARGUMENT_AT[0]),
        (EQUAL, 1, 0, process),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]


def _unless(refused: tuple[int, int], *, argument: int) -> list[_Code]:
    how, value = refused
    return [
        (LOAD, 0, 0, ARGUMENT_AT[argument]),
        (how, 0, 1, value),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
