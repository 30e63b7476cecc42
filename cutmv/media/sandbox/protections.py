"""Which protections this machine has; all that it has are used."""

import os
from functools import lru_cache

from cutmv.media.sandbox import kernel, landlock, seccomp

#: Each by its name, and what is missing without it.
MISSED = {
    "Landlock": "the files of this user",
    "seccomp": "the network and the kernel's rarer calls",
}


#: The value of CUTMV_SANDBOX that turns them off.
OFF = "off"


def protections() -> tuple[str, ...]:
    """The names of those that are used: all that this machine has, unless they are turned off.

    Limits of memory, time and files are everywhere, and no protection by these names.
    """
    return () if os.environ.get("CUTMV_SANDBOX") == OFF else _of_this_machine()


@lru_cache(maxsize=1)
def _of_this_machine() -> tuple[str, ...]:
    if not kernel.IS_LINUX:
        return ()
    found = ["no new privileges"]
    if os.geteuid() == 0:
        found.append("no rights of root")
    if landlock.version():
        found.append("Landlock")
    if seccomp.available():
        found.append("seccomp")
    return tuple(found)


def missing() -> list[str]:
    """What a hijacked child could reach here, one phrase for each protection that is missing."""
    return [what for name, what in MISSED.items() if name not in protections()]


def told() -> str:
    """The protections as one line for people."""
    version = landlock.version() if "Landlock" in protections() else 0
    named = [f"{each} {version}" if each == "Landlock" else each for each in protections()]
    lacks = missing()
    line = ", ".join((*named, "limits"))
    return f"{line}; not kept from {' or '.join(lacks)}" if lacks else line
