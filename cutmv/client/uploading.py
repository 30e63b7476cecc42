"""Send a file in parts: several at once, each checked, and only those that are not there yet."""

import hashlib
import secrets
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cutmv.client.models import ApiError

#: Parts on their way at once.
AT_ONCE = 4
#: Bytes by whose looks the server refuses what is no video.
HEAD_BYTES = 400
#: The path of uploads in parts.
BEGUN = "/api/multipart-uploads"

#: Makes a request and returns the JSON of its answer, as `Client.call`.
Call = Callable[..., Any]


def send_file(call: Call, path: Path, progressed: Callable[[int], None]) -> Any:
    """Send a file and return the upload as the API tells it. Raises ApiError, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    begun = _begin(call, path.name, size, head)
    stored = {each["number"]: each["etag"] for each in begun["stored"]}
    sending = _Sending(call, path, begun, progressed)
    with ThreadPoolExecutor(AT_ONCE, "cutmv-upload") as pool:
        # The first that fails ends the others: what is not begun is not sent.
        futures = [pool.submit(sending.send, n, stored.get(n)) for n in sending.numbers]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return call("POST", f"{BEGUN}/{begun['id']}/complete", again=True)


def _begin(call: Call, filename: str, size: int, head: bytes) -> Any:
    """What an earlier try has begun of the file, or a new upload."""
    for begun in call("GET", BEGUN)["uploads"]:
        if (begun["filename"], begun["size"]) == (filename, size):
            return call("GET", f"{BEGUN}/{begun['id']}")
    body = {"filename": filename, "size": size, "head": b64encode(head).decode()}
    key = {"Idempotency-Key": secrets.token_hex(16)}
    return call("POST", BEGUN, again=True, json=body, headers=key)


class _Sending:
    """A file on its way; threads share it."""

    def __init__(
        self, call: Call, path: Path, begun: Any, progressed: Callable[[int], None]
    ) -> None:
        self._call, self._path, self._begun = call, path, begun
        self._progressed = progressed
        self._lock = threading.Lock()
        self._sent = 0

    @property
    def numbers(self) -> Iterator[int]:
        """Those of the parts."""
        return iter(range(1, self._begun["parts"] + 1))

    def send(self, number: int, there: str | None) -> None:
        """Send a part, unless the MD5 of what is `there` is its own."""
        with self._path.open("rb") as file:
            file.seek((number - 1) * self._begun["part_bytes"])
            part = file.read(self._begun["part_bytes"])
        digest = hashlib.md5(part, usedforsecurity=False)
        if digest.hexdigest() != there:
            self._put(number, part, b64encode(digest.digest()).decode())
        with self._lock:
            self._sent += len(part)
            self._progressed(self._sent)

    def _put(self, number: int, part: bytes, md5: str) -> None:
        try:
            self._put_to(number, part, md5, direct=True)
        except ApiError:  # the storage can't be reached from here: the server takes it
            self._put_to(number, part, md5, direct=False)

    def _put_to(self, number: int, part: bytes, md5: str, *, direct: bool) -> None:
        wanted = {"parts": [{"number": number, "md5": md5}], "direct": direct}
        url = f"{BEGUN}/{self._begun['id']}/parts"
        (told,) = self._call("POST", url, again=True, json=wanted)["parts"]
        self._call("PUT", told["url"], content=part, headers=told["headers"])
