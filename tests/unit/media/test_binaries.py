"""Which FFmpeg is a current release, and which program is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutmv.media import MediaUnavailable, is_current, refuse_script
from cutmv.media.sandbox.protections import protections


@pytest.mark.parametrize(
    ("version", "current"),
    [
        ("9.0.2", True),
        ("n9.0.2-17-g2a571b6068-20260930", True),
        ("8.1.2", True),
        ("8.1.1", False),
        ("8.1", False),
        ("8.0.4", False),
        ("7.1.1-1+deb13u1", False),
        ("N-120000-gabcdef", True),
    ],
)
def test_a_release_is_current_until_its_branch_has_fixes_it_lacks(
    version: str, current: bool
) -> None:
    assert is_current(version) is current


def test_a_script_is_refused_where_the_sandbox_would_refuse_what_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\nexec ffmpeg\n")
    monkeypatch.setenv("CUTMV_SANDBOX", "off")
    refuse_script(str(script))
    monkeypatch.delenv("CUTMV_SANDBOX")
    if not protections():
        pytest.skip("this machine has no protection")
    with pytest.raises(MediaUnavailable, match=r"is a script.* CUTMV_SANDBOX=off"):
        refuse_script(str(script))
