"""Draw a picture of the page: a video on its timeline, and clips that are marked on it.

python -m tests.support.picture FILE
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from cutmv.media import ffmpeg_path
from tests.support.pages import is_whole_overview, upload
from tests.support.web_server import web_server

#: What the video shows and plays: 24 s of colours that drift, and a beat twice a second.
PICTURE = (
    "gradients=s=1280x720:r=30:d=24:speed=0.01:n=4:seed=7"
    ":x0=0:y0=0:x1=1280:y1=720:c0=0x1b1035:c1=0x7c5cff:c2=0x2fd6b5:c3=0xff7a59"
)
SOUND = "aevalsrc='0.8*sin(2*PI*55*t)*exp(-6*mod(t,0.5))+0.1*sin(2*PI*(220+55*floor(t/4))*t)':d=24"
#: The page's width and height, and how many colours the picture is kept with.
SIZE, COLOURS = ViewportSize(width=1100, height=1120), 256
#: When the clips begin and end, as people write it.
CLIPS = (("0:02", "0:09.5"), ("0:07", "0:14"), ("0:16", "0:22"))
#: Milliseconds for what takes a busy machine some time.
PATIENCE_MS = 60_000


def draw(file: Path) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as name, web_server(Path(name)) as server:
        video = Path(name, "midnight-drive.mp4")
        inputs = ["-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND]
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p"]
        argv = [ffmpeg_path(), "-v", "error", *inputs, *codecs, "-c:a", "aac", str(video)]
        subprocess.run(argv, check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport=SIZE, color_scheme="dark")
            page.set_default_timeout(PATIENCE_MS)
            page.goto(server.url)
            shot = _shown(page, video)
            browser.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(BytesIO(shot)) as image:
        image.convert("RGB").quantize(COLOURS).save(file, optimize=True)


def _shown(page: Page, video: Path) -> bytes:
    """The page as it is with the video and the clips, as a PNG."""
    with page.expect_response(is_whole_overview):
        upload(page, video)
    while page.get_by_test_id("clip-remove").count():
        page.get_by_test_id("clip-remove").first.click()
    for number, (start, end) in enumerate(CLIPS):
        page.get_by_test_id("add-clip").click()
        for side, text in (("clip-end", end), ("clip-start", start), ("clip-end", end)):
            page.get_by_test_id(side).nth(number).fill(text)
    page.get_by_test_id("player").evaluate("player => { player.currentTime = 7; }")
    expect(page.get_by_test_id("estimate")).not_to_be_empty()
    page.locator("#editor").evaluate("editor => editor.scrollIntoView()")
    page.wait_for_load_state("networkidle")
    return page.screenshot()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
