"""`cutmv.web.api.uploads.incoming`: files out of raw bodies and forms."""

import io
from collections.abc import Iterator

import pytest
from flask import Request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.test import EnvironBuilder

from cutmv.jobs import clean_name
from cutmv.web.api.problems import Problem
from cutmv.web.api.uploads.incoming import CHUNK_BYTES, Body, receive

LIMIT = 10_000_000
#: Bytes that look like the ends of parts, so that a careless parser stumbles.
PICTURE = (b"\r\n--frame\r\n\n\r--" + bytes(range(256))) * 4000


def a_form(*parts: tuple[str, str | None, bytes], closed: bool = True) -> Request:
    lines = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename is not None else ""
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        lines += head.encode() + content + b"\r\n"
    lines += b"--edge--\r\n" if closed else b""
    return a_request(lines, content_type="multipart/form-data; boundary=edge")


def a_request(body: bytes, **more: object) -> Request:
    builder = EnvironBuilder(method="POST", input_stream=io.BytesIO(body), **more)  # type: ignore[arg-type]
    builder.content_length = len(body)
    return Request(builder.get_environ())


def all_of(body: Body) -> bytes:
    return b"".join(iter(lambda: body.read(70_000), b""))


def test_a_raw_body_is_the_file_and_the_query_names_it() -> None:
    incoming = receive(a_request(PICTURE, query_string={"filename": "a song.mp4"}), LIMIT)

    assert incoming.filename == "a song.mp4"
    assert all_of(incoming.body) == PICTURE


def test_a_raw_body_can_be_named_by_a_header() -> None:
    headers = {"Content-Disposition": "attachment; filename*=UTF-8''caf%C3%A9.mp4"}

    assert receive(a_request(b"x", headers=headers), LIMIT).filename == "café.mp4"


def test_the_file_of_a_form_comes_out_byte_for_byte() -> None:
    incoming = receive(a_form(("title", None, b"Song"), ("file", "song.mp4", PICTURE)), LIMIT)

    assert incoming.filename == "song.mp4"
    assert all_of(incoming.body) == PICTURE
    incoming.finish()


class Endless:
    """A body that begins with `head` and never ends; knows how much of it was read."""

    def __init__(self, head: bytes) -> None:
        self.head, self.given = head, 0

    def read(self, size: int) -> bytes:
        taken, self.head = self.head[:size], self.head[size:]
        self.given += size
        return taken.ljust(size, b"x")

    def request(self) -> Request:
        environ = EnvironBuilder(method="POST").get_environ()
        ours = {"CONTENT_TYPE": "multipart/form-data; boundary=edge", "wsgi.input": self}
        return Request(environ | ours | {"CONTENT_LENGTH": "9000000000"})


def test_a_form_is_not_gathered_before_it_is_read() -> None:
    endless = Endless(b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n')

    incoming = receive(endless.request(), 10_000_000_000)

    assert incoming.body.read(1000) == b"x" * 1000
    assert endless.given <= 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"--edge\r\nContent-Disposition: form-data; name=",
        b'--edge\r\nContent-Disposition: form-data; name="f"\r\n\r\n',
    ],
    ids=["before the form", "in a header", "in a field"],
)
def test_a_form_that_never_comes_to_its_file_is_refused(head: bytes) -> None:
    endless = Endless(head)

    with pytest.raises((RequestEntityTooLarge, Problem)):
        receive(endless.request(), 10_000_000_000)
    assert endless.given <= 4 * CHUNK_BYTES


def test_a_second_file_in_a_form_is_refused() -> None:
    incoming = receive(a_form(("file", "a.mp4", b"aa"), ("file", "b.mp4", b"bb")), LIMIT)

    assert all_of(incoming.body) == b"aa"
    with pytest.raises(Problem, match="several files") as refused:
        incoming.finish()
    assert refused.value.status == 400


def test_a_form_without_a_file_is_refused() -> None:
    with pytest.raises(Problem, match="no file") as refused:
        receive(a_form(("file", None, b"text")), LIMIT)
    assert refused.value.status == 400


def test_a_form_that_breaks_off_is_refused() -> None:
    incoming = receive(a_form(("file", "a.mp4", PICTURE), closed=False), LIMIT)

    with pytest.raises(Problem, match="cut off"):
        all_of(incoming.body)


def test_a_body_that_breaks_off_raises() -> None:
    request = a_request(b"half")
    request.environ["CONTENT_LENGTH"] = "8"

    with pytest.raises(ClientDisconnected):
        all_of(receive(request, LIMIT).body)


def test_a_body_announced_as_too_large_is_refused_unread() -> None:
    request = a_request(b"x")
    request.environ["CONTENT_LENGTH"] = str(LIMIT + 2)

    with pytest.raises(RequestEntityTooLarge):
        receive(request, LIMIT).body.read(1)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_reads_are_full_until_the_end(size: int) -> None:
    def crumbs() -> Iterator[bytes]:
        yield from (PICTURE[i : i + 333] for i in range(0, 10_000, 333))

    body = Body(crumbs())
    whole = b"".join(PICTURE[i : i + 333] for i in range(0, 10_000, 333))
    assert body.peek(400) == whole[:400]
    pieces = list(iter(lambda: body.read(size), b""))
    assert b"".join(pieces) == whole
    assert {len(piece) for piece in pieces[:-1]} == {size}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/etc/passwd", "passwd"),
        ("C:\\Videos\\song.mp4", "song.mp4"),
        ("..", ".."),
        ("a\r\nSet-Cookie: b.mp4", "aSet-Cookie: b.mp4"),
        ("", "video"),
        ("   ", "video"),
        ("n" * 999, "n" * 200),
    ],
)
def test_a_name_is_one_harmless_part(given: str, kept: str) -> None:
    assert clean_name(given) == kept
