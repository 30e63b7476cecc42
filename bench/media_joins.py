"""How far the pictures of a clip's edges are from its original, beside the copied ones."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from cutmv.media import ffmpeg_path

#: Pictures on either side of a join that are looked at.
BESIDE = 15


def step_db(original: str, first: int, made: Path, encoded: Sequence[tuple[int, int]]) -> float:
    """Return the step of PSNR (luma, dB) at the joins of a clip, on the mean, whichever its sign.

    `original` is FFmpeg's source filter of the pictures before they were ever encoded, and the clip
    begins at its picture `first`. `encoded` are the clip's encoded pictures, as the first of each
    edge and the one past its last.
    """
    psnr = _psnr(original, first, made)
    steps = []
    for begin, past in encoded:
        copied = psnr[past : past + BESIDE] if begin == 0 else psnr[begin - BESIDE : begin]
        edge = psnr[max(begin, past - BESIDE) : past] if begin == 0 else psnr[begin:past][:BESIDE]
        steps.append(abs(fmean(copied) - fmean(edge)))
    return fmean(steps)


def _psnr(original: str, first: int, made: Path) -> list[float]:
    """Return how near to its original each picture of a clip is (dB)."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        graph = (
            f"[1:v]trim=start_frame={first},format=yuv420p,settb=1/30,setpts=N[a];"
            f"[0:v]settb=1/30,setpts=N[b];[b][a]psnr=shortest=1:stats_file={log.name}"
        )
        argv = [ffmpeg_path(), "-v", "error", "-i", str(made), "-f", "lavfi", "-i", original]
        argv += ["-lavfi", graph, "-an", "-fps_mode", "passthrough", "-f", "null", "-"]
        subprocess.run(argv, check=True)
        return [float(found) for found in re.findall(r"psnr_y:([0-9.]+)", log.read())]
