"""One HTTP exchange, with the transport's errors in place of the library's."""

from __future__ import annotations

import httpx

from cutmv.transports.cloudflare.errors import ServerFault, Unreachable


def exchange(http: httpx.HTTPTransport, request: httpx.Request, whom: str) -> httpx.Response:
    """Send one request and return its answer, read to the end.

    Raises `Unreachable` where `whom` gives none, and `ServerFault` where it can't be unpacked.
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
