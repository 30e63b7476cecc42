"""One HTTP exchange, with the transport's errors in place of httpx's."""

from __future__ import annotations

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
