"""An estimate, and what the job then takes."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import web_server


@pytest.mark.slow
def test_an_estimate_tells_about_what_the_job_then_makes(tmp_path: Path) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=12.0)
    wanted = {"wanted_clips": [{"text": "1-9", "label": "A"}, {"text": "2-4", "aspects": ["1:1"]}]}
    with web_server(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60.0) as client:
        with video.open("rb") as file:
            upload = client.post("/api/uploads?filename=song.mp4", content=file.read()).json()
        made = lambda: client.post(f"/api/uploads/{upload['id']}/overview").status_code == 200  # noqa: E731
        wait_for(made, 120.0, "the overview is made")
        body = {"upload_id": upload["id"], **wanted}

        told = client.post("/api/jobs/estimate", json=body).json()
        assert client.get("/api/jobs").json()["jobs"] == []
        job = client.post("/api/jobs", json=body).json()
        ended = lambda: client.get(f"/api/jobs/{job['id']}").json()["state"] == "done"  # noqa: E731
        wait_for(ended, 120.0, "the job ends")
        steps = client.get(f"/api/jobs/{job['id']}").json()["steps"]

    assert [each["name"] for each in told["outputs"]] == [each["output"]["name"] for each in steps]
    for each, step in zip(told["outputs"], steps, strict=True):
        output = step["output"]
        assert each["size"] == pytest.approx(output["size"], rel=0.7)
        assert each["copied_s"] == pytest.approx(output["made"]["copied"] / 30, abs=0.3)
    assert told["outputs"][0]["copied_s"] > 7 and told["outputs"][1]["copied_s"] == 0
    assert told["size"] == sum(each["size"] for each in told["outputs"])
