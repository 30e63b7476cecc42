"""The calls of the API. Each raises ApiError when it fails."""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from cutmv.client.models import ApiError, Delivery, Job, Output, Upload, Webhook
from cutmv.client.uploading import send_file

#: Seconds to wait for an answer; a video is looked at before the last one of an upload.
TIMEOUT_S = 120.0
#: Seconds between two looks at a job, at first and at most.
LOOK_S, MAX_LOOK_S = 0.2, 2.0
#: Tries at a request that may be made again, and seconds before the second of them.
TRIES, PAUSE_S = 4, 0.25


class Client:
    """A server at `url`, and an API key where people sign in. Threads may share it."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)
        # The storage, which may take parts of uploads itself, gets no key of the server's.
        self._storage = httpx.Client(timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._storage.close()

    def upload(self, path: Path, *, progressed: Callable[[int], None] | None = None) -> Upload:
        """Send a video in parts; what an earlier try has sent is not sent again.

        `progressed` is told how many bytes the server has. Raises OSError for the file, too.
        """
        return Upload.of(send_file(self.call, path, progressed or (lambda _: None)))

    def uploaded(self, upload_id: str) -> Upload:
        """What is known of an upload."""
        return Upload.of(self.call("GET", f"/api/uploads/{upload_id}"))

    def cut(self, upload_id: str, clips: Sequence[str] = (), **wanted: Any) -> Job:
        """Cut an upload into clips (`0:10-0:25 Chorus`); `wanted` are further fields of the API."""
        body = {"upload_id": upload_id, **({"clips": list(clips)} if clips else {}), **wanted}
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return Job.of(self.call("POST", "/api/jobs", again=True, json=body, headers=headers))

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return Job.of(self.call("GET", f"/api/jobs/{job_id}"))

    def jobs(self) -> Iterator[Job]:
        """All jobs, the newest first."""
        before: float | None = None
        while True:
            query = {} if before is None else {"before": before}
            page = self.call("GET", "/api/jobs", params=query)
            yield from map(Job.of, page["jobs"])
            if (before := page["next_before"]) is None:
                return

    def watch(self, job_id: str) -> Iterator[Job]:
        """The job at each change, and at last as it ended."""
        known, pause_s = None, LOOK_S
        while known is None or not known.ended:
            job = self.job(job_id)
            if job != known:
                yield job
                known, pause_s = job, LOOK_S
            if not job.ended:
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, MAX_LOOK_S)

    def cancel(self, job_id: str) -> Job:
        """Cancel what of a job has not ended."""
        return Job.of(self.call("POST", f"/api/jobs/{job_id}/cancel"))

    def delete_job(self, job_id: str) -> None:
        """Delete a job with its outputs, for good."""
        self.call("DELETE", f"/api/jobs/{job_id}")

    def delete_upload(self, upload_id: str) -> None:
        """Delete an upload with all that was made of it, for good."""
        self.call("DELETE", f"/api/uploads/{upload_id}")

    def download(self, job: Job, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Download the outputs of a job, each under its name; returns their paths.

        A download that broke goes on where it was. Raises FileExistsError for a file that is there
        already, before any is fetched, and OSError.
        """
        paths = [folder / Path(output.name).name for output in job.outputs]
        there = [path for path in paths if path.exists()]
        if there and not overwrite:
            raise FileExistsError(f"{there[0]} is there already.")
        folder.mkdir(parents=True, exist_ok=True)
        for output, path in zip(job.outputs, paths, strict=True):
            self._fetch(output, path)
        return paths

    def webhooks(self) -> list[Webhook]:
        """Where the ends of one's jobs are told."""
        return [Webhook.of(told) for told in self.call("GET", "/api/webhooks")["webhooks"]]

    def add_webhook(self, url: str) -> Webhook:
        """Have the ends of one's jobs told to an address, too; the answer has its secret."""
        return Webhook.of(self.call("POST", "/api/webhooks", json={"url": url}))

    def enable_webhook(self, webhook_id: str, *, enabled: bool = True) -> Webhook:
        """Enable or disable a webhook; what waits when it is disabled has failed."""
        path, wanted = f"/api/webhooks/{webhook_id}", {"enabled": enabled}
        return Webhook.of(self.call("PATCH", path, json=wanted))

    def renew_webhook_secret(self, webhook_id: str) -> Webhook:
        """A new secret, which the answer has; that of before signs, too, for a day."""
        return Webhook.of(self.call("POST", f"/api/webhooks/{webhook_id}/secret"))

    def test_webhook(self, webhook_id: str) -> None:
        """Have a test event sent."""
        self.call("POST", f"/api/webhooks/{webhook_id}/test", again=True)

    def deliveries(self, webhook_id: str) -> list[Delivery]:
        """The latest that a webhook was told, the newest first."""
        told = self.call("GET", f"/api/webhooks/{webhook_id}/deliveries")
        return [Delivery.of(each) for each in told["deliveries"]]

    def delete_webhook(self, webhook_id: str) -> None:
        """End a webhook, with all that was to be told there."""
        self.call("DELETE", f"/api/webhooks/{webhook_id}")

    def call(self, method: str, path: str, *, again: bool | None = None, **more: Any) -> Any:
        """Make a request and return the JSON of its answer; None where it has none.

        It is made `again` where that works later and changes nothing more: usually but for POST.
        """
        again = method != "POST" if again is None else again
        return _persist(lambda: self._call(method, path, **more), TRIES if again else 1)

    def _call(self, method: str, path: str, **more: Any) -> Any:
        server = self._http if path.startswith("/") else self._storage
        try:
            answer = server.request(method, path, **more)
        except httpx.HTTPError as error:
            raise ApiError(_lost(error)) from error
        _refuse(answer)
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.json() if is_json else None

    def _fetch(self, output: Output, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        _persist(lambda: self._fetch_rest(output, part), TRIES)
        part.replace(path)

    def _fetch_rest(self, output: Output, part: Path) -> None:
        there = part.stat().st_size if part.exists() else 0
        if there > output.size:
            part.unlink()
            there = 0
        if there == output.size and there:
            return
        try:
            headers = {"Range": f"bytes={there}-"} if there else {}
            url = f"{output.url}?download="
            with self._http.stream("GET", url, headers=headers) as answer:
                if answer.status_code >= 400:
                    answer.read()
                _refuse(answer)
                with part.open("ab" if answer.status_code == 206 else "wb") as file:
                    for chunk in answer.iter_bytes():
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
        except httpx.HTTPError as error:
            raise ApiError(_lost(error)) from error
        if part.stat().st_size != output.size:
            raise ApiError(f"{output.name} came with {part.stat().st_size} bytes of {output.size}.")


def _persist(attempt: Callable[[], Any], tries: int) -> Any:
    """Call `attempt`, `tries` times at most, until it succeeds or fails for good."""
    for tried in range(1, tries + 1):
        try:
            return attempt()
        except ApiError as error:
            if tried == tries or not error.passes:
                raise
            time.sleep(max(error.retry_after_s, PAUSE_S * 2 ** (tried - 1)))
    raise AssertionError("the last try has returned or raised")


def _lost(error: httpx.HTTPError) -> str:
    return f"The server can't be reached ({type(error).__name__}): check its address."


def _refuse(answer: httpx.Response) -> None:
    """Raise ApiError for an answer that is none of success, by problem details (RFC 9457)."""
    if answer.status_code < 400:
        return
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"The server answered {answer.status_code}."
    wait = answer.headers.get("Retry-After", "")
    raise ApiError(detail, answer.status_code, float(wait) if wait.isdecimal() else 0.0)
