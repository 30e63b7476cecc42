"""What a child may do, and the command line that starts one in its sandbox."""

import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cutmv.media.sandbox import landlock
from cutmv.media.sandbox.protections import protections

#: Folders of libraries of the system, and of distributions that keep each package by itself.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
#: What the C library reads: where libraries are, how many processors and how much memory there are.
#: None tells of a process.
MACHINE = (
    "/etc/ld.so.cache",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/dev/urandom",
)
#: What a driver of graphics opens, beyond that.
GRAPHICS = ("/dev/dri", "/dev/nvidia*", "/dev/nvidia-caps")
OF_GRAPHICS = ("/sys", "/proc/driver", "/usr/share", "/etc/vulkan", "/etc/OpenCL")

#: Bytes of memory that no limit is below.
UNBOUNDED = 2**63 - 1

_START = str(Path(__file__).with_name("start.py"))


@dataclass(frozen=True)
class Access:
    """What a child may open, beyond what a program needs to run at all.

    `reads` are files and folders, `writes` folders. `programs` are those that it may start; without
    one it starts no other process. With `graphics` it may use hardware that encodes.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    graphics: bool = False


def command(
    argv: Sequence[str],
    access: Access,
    *,
    memory_bytes: int | None = None,
    output_bytes: int | None = None,
    cpu_s: int | None = None,
    nice: int = 0,
    idle: bool = False,
    applied: Sequence[str] | None = None,
) -> list[str]:
    """The command line that runs `argv` in the sandbox, and ends it with this process.

    None of a limit leaves that which this process has. The program yields to this process by `nice`
    levels (nice(2)), and with `idle` to all that want the processor (sched(7), where the system has
    it). `applied` names the protections (default: those that this machine has).
    """
    access = replace(access, programs=(*access.programs, argv[0]))
    told = {
        "parent": os.getpid(),
        "memory": memory_bytes,
        "output": output_bytes,
        "cpu": cpu_s,
        "nice": nice,
        "idle": idle,
        "soft": access.graphics,
        "forks": len(access.programs) > 1,
        "protections": list(protections() if applied is None else applied),
        "rights": _rights(access),
    }
    return [sys.executable, "-I", "-S", _START, json.dumps(told), *argv]


def _rights(access: Access) -> list[tuple[str, int]]:
    programs = [os.path.realpath(each) for each in access.programs]
    rights = [(path, landlock.READ) for path in (*_runtime(), *access.reads)]
    rights += [(path, landlock.READ | landlock.EXECUTE) for path in (*SYSTEM, *programs)]
    rights += [(path, landlock.WRITE) for path in (*access.writes, os.devnull)]
    if access.graphics:
        devices = [str(each) for at in GRAPHICS for each in Path("/").glob(at.removeprefix("/"))]
        rights += [(path, landlock.DEVICE) for path in devices]
        rights += [(path, landlock.READ) for path in OF_GRAPHICS]
    return rights


@lru_cache(maxsize=1)
def _runtime() -> tuple[str, ...]:
    """Where Python, its packages and this one are, and libraries that the environment names."""
    found = [
        str(Path(prefix, folder))
        for prefix in (sys.prefix, sys.base_prefix, sys.base_exec_prefix)
        for folder in ("lib", "lib64", "pyvenv.cfg")
    ]
    found += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    found += [str(Path(__file__).parents[2]), *MACHINE]
    return tuple(dict.fromkeys(each for each in found if each))
