"""Read an uploaded file from an HTTP request, raw or from a form, in pieces, never held whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from flask import Request
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder, NeedData

from cutmv.jobs import clean_name
from cutmv.web.api.problems import Problem

#: Bytes read from the connection at a time.
CHUNK_BYTES = 256 * 1024
#: Bytes that a form may have beside its file: boundaries, headers, small fields.
FORM_EXTRA_BYTES = 64 * 1024
#: Parts of a form, the file among them.
MAX_PARTS = 20


class Body:
    """The bytes of the file, read forward once.

    `read(n)` gives `n` bytes unless the file ends: R2 wants parts of one size.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay to be read."""
        while len(self._buffer) < size and (chunk := next(self._chunks, None)) is not None:
            self._buffer += chunk
        return bytes(self._buffer[:size])

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer only at the end of the file."""
        taken = self.peek(size)
        del self._buffer[: len(taken)]
        return taken


@dataclass(frozen=True)
class Incoming:
    """A file's name, for people only, and its bytes; `finish` checks what follows them."""

    filename: str
    body: Body
    finish: Callable[[], None]


def receive(request: Request, max_bytes: int) -> Incoming:
    """The file that `request` carries, at most `max_bytes` of it.

    Raises Problem 400 for a form without a file; and, like `body.read`, werkzeug's
    RequestEntityTooLarge and ClientDisconnected.
    """
    if request.mimetype != "multipart/form-data":
        # One byte more than allowed: at the very limit werkzeug can't tell a body's end from its
        # middle.
        request.max_content_length = max_bytes + 1
        chunks = iter(lambda: request.stream.read(CHUNK_BYTES), b"")
        return Incoming(clean_name(_raw_name(request)), Body(chunks), lambda: None)
    request.max_content_length = max_bytes + FORM_EXTRA_BYTES
    form = _Form(request)
    filename = form.find_file()
    return Incoming(clean_name(filename), Body(form.file()), form.finish)


def _raw_name(request: Request) -> str:
    if "filename" in request.args:
        return request.args["filename"]
    _, options = parse_options_header(request.headers.get("Content-Disposition"))
    return unquote(options.get("filename", ""))


class _Form:
    """A multipart form read event by event; werkzeug's own parser keeps files on a disk first."""

    def __init__(self, request: Request) -> None:
        boundary = request.mimetype_params.get("boundary", "")
        if not boundary:
            raise Problem(400, "The form's Content-Type names no boundary.")
        self._stream = request.stream
        # The decoder's buffer is bounded too: a form may begin with endless empty lines.
        self._decoder = MultipartDecoder(
            boundary.encode(), CHUNK_BYTES + FORM_EXTRA_BYTES, max_parts=MAX_PARTS
        )

    def find_file(self) -> str:
        """Read up to the first part that is a file; returns its name."""
        skipped = 0
        for event in self._events():
            if isinstance(event, File):
                return event.filename
            if isinstance(event, Data):
                skipped += len(event.data)
            if skipped > FORM_EXTRA_BYTES:
                raise Problem(413, "The form's fields before its file are too large.")
        raise Problem(400, 'The form has no file: send it as a field with a file name, say "file".')

    def file(self) -> Iterator[bytes]:
        """The bytes of that part."""
        for event in self._events():
            if isinstance(event, Data):
                if event.data:
                    yield event.data
                if not event.more_data:
                    return

    def finish(self) -> None:
        """Read the rest. Raises Problem 400 when there is a second file."""
        if any(isinstance(event, File) for event in self._events()):
            raise Problem(400, "The form has several files: send one at a time.")

    def _events(self) -> Iterator[object]:
        try:
            while True:
                event = self._decoder.next_event()
                if isinstance(event, NeedData):
                    self._decoder.receive_data(self._stream.read(CHUNK_BYTES) or None)
                    continue
                yield event
                if isinstance(event, Epilogue):
                    return
        except ValueError as error:
            raise Problem(400, "The form is damaged, or was cut off.") from error
