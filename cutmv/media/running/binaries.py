"""Find the FFmpeg to run: the one named by the environment, the system's, or the wheel's.

A system FFmpeg is preferred, since its owner keeps it patched, when it is 7.0 or newer and has the
libraries that a cut needs. Otherwise the build inside the `imageio-ffmpeg` wheel is used, so that
nothing has to be installed by hand.
"""

import importlib.util
import os
import re
import stat
import subprocess
from functools import lru_cache
from pathlib import Path

from cutmv.media.errors import MediaUnavailable
from cutmv.media.sandbox.protections import protections

#: libavutil of FFmpeg 7.0, from the table in FFmpeg's download page and its APIchanges. Older ones
#: get no security fixes any more.
MIN_LIBAVUTIL = (59, 8)
#: The oldest release that still gets security fixes from FFmpeg's own people, which they put into
#: the latest of each of its branches, and of newer ones.
CURRENT = (8, 1, 2)
#: Configure switches without which a cut can't be encoded or tone-mapped.
NEEDED_LIBRARIES = ("--enable-libx264", "--enable-libzimg")
#: The encoders and filters that `render` and `plan` use, by FFmpeg's option that lists them.
NEEDED_PARTS = {
    "-encoders": ("libx264", "aac", "gif", "mjpeg", "libwebp_anim"),
    "-filters": ("zscale", "tonemap", "palettegen", "paletteuse", "gblur", "xfade"),
}
#: Seconds that `ffmpeg -version` may take; it does no work, but a cold disk is slow.
VERSION_TIMEOUT_S = 20.0

_LIBAVUTIL = re.compile(r"^libavutil\s+(\d+)\.\s*(\d+)", re.MULTILINE)


def ffmpeg_path() -> str:
    """Path of the `ffmpeg` to run. Raises MediaUnavailable with what to do when there is none."""
    return _override("CUTMV_FFMPEG") or _found(os.environ.get("PATH", ""))


def _override(variable: str) -> str | None:
    path = os.environ.get(variable)
    if path and not os.access(path, os.X_OK):
        raise MediaUnavailable(f"{variable} names {path}, which can't be run; correct or unset it.")
    return path or None


@lru_cache(maxsize=4)
def _found(search_path: str) -> str:
    for folder in search_path.split(os.pathsep):
        program = Path(folder, "ffmpeg")
        if _is_program(program) and _is_good(program):
            return str(program)
    for program in _of_the_wheel():
        _make_executable(program)
        return str(program)
    raise MediaUnavailable(
        "No FFmpeg 7.0 or newer was found; run `pip install imageio-ffmpeg`, or set CUTMV_FFMPEG."
    )


def _is_program(path: Path) -> bool:
    # A script is no program: wheels install such of this name that download a build, and what
    # others start the sandbox refuses.
    return path.is_file() and os.access(path, os.X_OK) and not _is_script(path)


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def refuse_script(program: str) -> None:
    """Raise MediaUnavailable where `program` starts another one, which the sandbox would refuse."""
    if protections() and _is_script(Path(program)):
        raise MediaUnavailable(
            f"{program} is a script, and what it starts can't run in the sandbox:"
            " have CUTMV_FFMPEG name the program itself, or set CUTMV_SANDBOX=off."
        )


def version_of(program: str) -> str:
    """The version that an `ffmpeg` says it is. Raises MediaUnavailable."""
    shown = _shown(program, "-version")
    found = re.match(r"\S+ version (\S+)", shown)
    return found[1] if found else "of no version"


def version_of_libraries() -> str:
    """The version of FFmpeg whose libraries read sources. Raises MediaUnavailable."""
    try:
        import av  # which takes its time
    except ImportError as error:
        raise MediaUnavailable(f"FFmpeg's libraries can't be loaded: {error}.") from error
    return str(av.ffmpeg_version_info)


def is_current(version: str) -> bool:
    """Whether a version is a current release, or newer than all: a build of the development's.

    >>> is_current("n8.1.2-17-g2a571b6068"), is_current("7.1.1"), is_current("N-120000-gabc")
    (True, False, True)
    """
    numbers = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return not numbers or tuple(int(each or 0) for each in numbers.groups()) >= CURRENT


def shortcomings(ffmpeg: str) -> list[str]:
    """What this `ffmpeg` lacks of what a cut needs. Raises MediaUnavailable."""
    missing = _lacking(_shown(ffmpeg, "-version"))
    for option, parts in NEEDED_PARTS.items():
        # Each line is flags, a name, and what it is.
        names = {
            words[1]
            for line in _shown(ffmpeg, option).splitlines()
            if len(words := line.split()) > 1
        }
        missing += [f"{part} ({option[1:-1]})" for part in parts if part not in names]
    return missing


def _is_good(ffmpeg: Path) -> bool:
    try:
        return not _lacking(_shown(str(ffmpeg), "-version"))
    except MediaUnavailable:
        return False


def _lacking(shown: str) -> list[str]:
    """What a build lacks whose `-version` shows this text."""
    version = _LIBAVUTIL.search(shown)
    old = version is None or (int(version[1]), int(version[2])) < MIN_LIBAVUTIL
    missing = ["version 7.0 or newer"] if old else []
    return missing + [library for library in NEEDED_LIBRARIES if library not in shown]


def _shown(program: str, option: str) -> str:
    try:
        return subprocess.run(
            [program, "-hide_banner", option],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaUnavailable(f"{program} can't be run: {type(error).__name__}.") from error


def _of_the_wheel() -> list[Path]:
    # The package is not imported: it looks for programs of its own.
    spec = importlib.util.find_spec("imageio_ffmpeg")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return [found for folder in folders for found in Path(folder, "binaries").glob("ffmpeg-*")]


def _make_executable(program: Path) -> None:
    """Some installers unpack a wheel without the executable bit."""
    if os.access(program, os.X_OK):
        return
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise MediaUnavailable(f"Can't run {program}: make it executable (chmod +x).") from error
