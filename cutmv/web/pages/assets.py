"""The page's script and style, each in one request: compressed, and kept by browsers for ever.

An address has a hash of what is there, so what changes has another one.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flask import Response, request

from cutmv.web.pages.bundle import joined

STATIC = Path(__file__).parents[1] / "static"
#: The assets, and their types.
TYPES = {"main.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8"}
#: Seconds for which a browser keeps one: a year.
KEPT_S = 31_536_000
#: Characters of the hash in an address.
HASH_CHARS = 16


@dataclass(frozen=True)
class Asset:
    """A file as it is sent, and the hash of its content."""

    body: bytes
    packed: bytes
    digest: str


def asset(name: str) -> Asset:
    """The asset of a name, as its sources are now."""
    return _made(name, _changed_at())


def send_asset(name: str, digest: str) -> Response:
    """An asset for a request; `digest` is that of the address."""
    found = asset(name)
    response = packed(found.body, found.packed, TYPES[name])
    response.cache_control.public = True
    if digest == found.digest:
        response.cache_control.max_age, response.cache_control.immutable = KEPT_S, True
    else:  # a page of another version asks, while a deployment is upgraded
        response.cache_control.no_cache = True
    return response


def send_page(text: str) -> Response:
    """A page for people, compressed.

    Not for one that repeats what a request says: its length would tell of the CSRF token in it.
    """
    body = text.encode()
    return packed(body, gzip.compress(body, 6), "text/html; charset=utf-8")


def packed(body: bytes, compressed: bytes, content_type: str) -> Response:
    """What is sent: compressed, where the client takes it."""
    takes = request.accept_encodings["gzip"] > 0
    response = Response(compressed if takes else body, content_type=content_type)
    response.headers["Vary"] = "Accept-Encoding"
    if takes:
        response.headers["Content-Encoding"] = "gzip"
    return response


def _changed_at() -> int:
    """When a source last changed: who works on the page need not start the server again."""
    return max(each.stat().st_mtime_ns for each in STATIC.rglob("*") if each.is_file())


@lru_cache(maxsize=2 * len(TYPES))
def _made(name: str, _changed_at: int) -> Asset:
    path = STATIC / name
    body = (joined(path) if path.suffix == ".js" else path.read_text()).encode()
    digest = hashlib.sha256(body).hexdigest()[:HASH_CHARS]
    return Asset(body, gzip.compress(body, 9), digest)
