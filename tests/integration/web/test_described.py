"""The API is as its description says: schemathesis asks a real server for all that it describes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cutmv.config import Settings
from cutmv.services import Services
from tests.support.media import make_sample
from tests.support.processes import clean_env, wait_for
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow

#: Requests of each operation that are made up, beside those that its schema asks for.
EXAMPLES = 20
#: What a schema can't say, so that a request by its letter is refused: that a clip ends before
#: the video does, or that a file is none. And OPTIONS of `/api/jobs/estimate` tells the methods of
#: a job of that name, too.
NO_CHECKS = "positive_data_acceptance,allow_header_conformance"
#: Operations that delete what the others need, or end who asks, so they get names of nothing.
#: What refuses a request that is not by its schema. A longer URI than any is refused by its length.
REFUSES = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 414, 415, 421, 422, 429, 431]
"""
ENDS = (
    "DELETE /api/jobs/{job_id}",
    "DELETE /api/jobs/{job_id}/outputs/{name}",
    "DELETE /api/uploads/{upload_id}",
    "DELETE /api/people/{person_id}",
    "PATCH /api/people/{person_id}",
)


@pytest.mark.parametrize("sign_in", ["always", "auto"])
def test_each_operation_answers_as_it_is_described(sign_in: str, tmp_path: Path) -> None:
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(160, 90))
    excluded = [NO_CHECKS]
    with web_server(tmp_path, CUTMV_SIGN_IN=sign_in, CUTMV_MAX_REQUESTS="1000000") as server:
        head = {"Authorization": f"Bearer {_key(server)}"} if sign_in == "always" else {}
        with httpx.Client(base_url=server.url, headers=head, timeout=30) as client:
            sent = client.post("/api/uploads?filename=v.mp4", content=video.read_bytes()).json()
            wanted = {"upload_id": sent["id"], "clips": ["0-0.5"]}
            job = client.post("/api/jobs", json=wanted).json()
            of_job = f"/api/jobs/{job['id']}"
            wait_for(lambda: client.get(of_job).json()["state"] == "done", 60, "the job is done")
            output = client.get(of_job).json()["steps"][0]["output"]["name"]
        known = {"upload_id": sent["id"], "job_id": job["id"], "name": output}
        unknown = {**dict.fromkeys(known, "none"), "person_id": "none"}
        config = tmp_path / "schemathesis.toml"
        config.write_text(REFUSES + _table("parameters", known) + "".join(_ending(unknown)))
        if not head:
            excluded.append("ignored_auth")
        argv = [str(Path(sys.executable).with_name("schemathesis")), f"--config-file={config}"]
        argv += ["run", f"{server.url}/api/openapi.json", f"--max-examples={EXAMPLES}"]
        argv += ["--phases=examples,coverage,fuzzing", "--seed=1", "--warnings=off"]
        argv += [f"--exclude-checks={','.join(excluded)}", "--exclude-path-regex=^/ws/"]
        argv += ["--suppress-health-check=all", "--request-timeout=30", "--no-color"]
        argv += [f"--header={name}: {value}" for name, value in head.items()]
        done = subprocess.run(
            argv,
            cwd=tmp_path,
            env=clean_env(),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def _key(server: WebServer) -> str:
    """An administrator's API key."""
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
    services = Services.open(Settings.from_env(env))
    boss = services.accounts.add("boss@example.com", is_admin=True)
    return services.api_keys.add(str(boss.id), "the test's")[1]


def _ending(values: dict[str, str]) -> list[str]:
    return [
        f'[[operations]]\ninclude-name = "{name}"\n' + _table("operations.parameters", values)
        for name in ENDS
    ]


def _table(name: str, values: dict[str, str]) -> str:
    lines = [f'"path.{parameter}" = "{value}"\n' for parameter, value in values.items()]
    return f"[{name}]\n{''.join(lines)}\n"
