"""One object of a storage, read by ranges over HTTP.

Names are looked up and certificates checked here, and what breaks off goes on where it was.
"""

import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from cutmv.media.errors import MediaUnavailable

#: Seconds in which the storage must take a connection, and send the next bytes of an answer.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
#: Attempts at one range, and seconds before the second; they double for each later one, jittered.
MAX_TRIES, BACKOFF_S = 5, 0.3
#: Statuses of failures that may pass, so that another attempt is made.
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)

_CONTENT_RANGE = re.compile(r"^bytes (\d+)-\d+/(\d+)$")


class NotGiven(Exception):
    """The storage did not give what was asked for; RemoteObject.lost says why."""


class RemoteObject:
    """The object at a URL. It is one and the same as long as it is open.

    `ending` ends waits for the storage.
    """

    def __init__(self, url: str, ending: threading.Event) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise MediaUnavailable("The video's address is no valid URL.") from error
        self._ending = ending
        self._etag: str | None = None
        self._size: int | None = None
        self._counting, self._opening = threading.Lock(), threading.Lock()
        #: Bytes that came from the storage, and requests that it was asked for them.
        self.fetched, self.requests = 0, 0
        #: One line about bytes that no attempt could get, or None.
        self.lost: str | None = None
        #: Whether the storage answered, and refused: asking once more will not change that.
        self.refused = False
        #: One line about the latest failure, or None when bytes came since.
        self.trouble: str | None = None
        self._client = httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={"Accept-Encoding": "identity"},
        )

    @property
    def size(self) -> int:
        """Its bytes. Raises NotGiven."""
        with self._opening:
            if self._size is None:
                for _ in self._attempts(0, 1):
                    pass
            return self._size or 0

    @property
    def identity(self) -> str | None:
        """What no other object has, nor this one with other bytes; none where that is not told.

        Raises NotGiven.
        """
        size = self.size
        # A weak tag does not tell that the bytes are the same (RFC 9110, 8.8.1).
        if self._etag is None or self._etag.startswith("W/"):
            return None
        return (
            f"{self._url.scheme}://{self._url.netloc.decode()}{self._url.path} {size} {self._etag}"
        )

    def read(self, first: int, past: int) -> Iterator[bytes]:
        """Yield its bytes from `first` to before `past`, as they come. Raises NotGiven."""
        if self.size and first < past:
            yield from self._attempts(first, past)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _attempts(self, first: int, past: int) -> Iterator[bytes]:
        if self.lost:
            raise NotGiven  # what is made of the rest would be wrong
        tries = 0
        while tries < MAX_TRIES:
            if self._ending.wait(_backoff_s(tries)):
                raise NotGiven  # nobody reads any more
            tries += 1
            try:
                with self._ask(first, past) as answer:
                    # Chunks as they come: with a fixed size httpx would drop a part on a failure.
                    for chunk in answer.iter_raw():
                        first += len(chunk)
                        with self._counting:
                            self.fetched += len(chunk)
                        tries, self.trouble = 0, None  # bytes came: the next failure is a first one
                        yield chunk
                return
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._size is None:
                    self._size = 0
                    return
                self.refused = status not in RETRIED_STATUSES
                if status == HTTPStatus.PRECONDITION_FAILED:
                    self._replaced()
                self.trouble = f"The storage answered {status} when asked for the video."
                if self.refused:
                    break
            except httpx.HTTPError as error:
                reason = type(error).__name__
                self.trouble = f"The video can't be read from {self._url.host}: {reason}."
        self.lost = self.trouble
        raise NotGiven

    @contextmanager
    def _ask(self, first: int, past: int) -> Iterator[httpx.Response]:
        headers = {"Range": f"bytes={first}-{past - 1}"}
        if self._etag is not None:
            headers["If-Match"] = self._etag
        with self._counting:
            self.requests += 1
        with self._client.stream("GET", self._url, headers=headers) as answer:
            answer.raise_for_status()
            told = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
            if told is None or int(told[1]) != first:
                raise httpx.RemoteProtocolError("A part was asked for, and another given.")
            if self._size is None:
                self._size, self._etag = int(told[2]), answer.headers.get("ETag")
            elif (int(told[2]), answer.headers.get("ETag")) != (self._size, self._etag):
                self._replaced()
            yield answer

    def _replaced(self) -> None:
        """Give up: what was read so far is of another object. Raises NotGiven."""
        self.lost, self.refused = "The video was replaced while it was read.", True
        raise NotGiven


def _backoff_s(tries: int) -> float:
    return BACKOFF_S * 2 ** (tries - 1) * random.uniform(0.5, 1.0) if tries else 0.0
