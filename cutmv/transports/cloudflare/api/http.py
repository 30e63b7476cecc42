"""One HTTP exchange, with the transport's errors in place of httpx's, and what goes into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from cutmv.transports.cloudflare.errors import ServerFault, Unreachable


def exchange(http: httpx.HTTPTransport, request: httpx.Request, whom: str) -> httpx.Response:
    """Send one request and return its response, read to the end.

    `whom` names the server in errors. Raises `Unreachable` where no response comes, and
    `ServerFault` where its content can't be decompressed.
    """
    try:
        response = http.handle_request(request)
        try:
            response.read()
        finally:
            response.close()
    except (httpx.TransportError, OSError) as error:
        why = str(error) or type(error).__name__
        raise Unreachable(f"{whom} gave no answer: {why}") from None
    except httpx.DecodingError as error:
        raise ServerFault(
            f"{whom} packed its answer as nothing is: {error}", status=response.status_code
        ) from None
    return response


def dump(body: Mapping[str, Any]) -> bytes:
    """Return a call's body as JSON."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        return json.dumps(body, separators=(",", ":")).encode()


def address_of(url: str) -> str:
    """Return a URL's server for people, without the password that it may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for `url`."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
