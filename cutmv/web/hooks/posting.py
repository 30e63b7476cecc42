"""Posts to a stranger's server: to the public network alone, within a deadline, reading nothing.

A name is resolved once, and all that it leads to is looked at before one of it is connected to, so
that no second answer can lead elsewhere. The certificate is checked against the name. Redirects are
not followed, and proxies of the environment not asked.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from cutmv.jobs import is_public

#: Seconds for which one request may take, all in all but for the look-up of a name.
REQUEST_S = 15.0
#: Seconds, at most, that a receiver may ask us to wait.
MAX_WAIT_S = 3_600.0


class NotSent(Exception):
    """The receiver was not reached, or did not answer as HTTP does; a few words for people."""


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and the seconds that it asks us to wait; 0 where it does not."""

    status: int
    wait_s: float


def post(url: str, headers: Mapping[str, str], body: bytes, *, anywhere: bool) -> Answer:
    """Post to a server, which may be `anywhere`, or of the public network alone. Raises NotSent."""
    backend = _Backend(time.monotonic() + REQUEST_S, anywhere=anywhere)
    try:
        with (
            httpcore.ConnectionPool(httpx.create_ssl_context(), network_backend=backend) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
        ):
            return Answer(answer.status, _wait_s(answer.headers))
    except httpcore.TimeoutException:
        raise NotSent(f"no answer within {REQUEST_S:.0f} s") from None
    except (httpcore.NetworkError, ssl.SSLError) as error:
        certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
        raise NotSent("its certificate is not good" if certificate else "no connection") from None
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError):
        raise NotSent("no answer that is HTTP") from None


def _wait_s(headers: Iterable[tuple[bytes, bytes]]) -> float:
    told = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return min(float(told), MAX_WAIT_S) if told.isdigit() else 0.0


class _Backend(httpcore.NetworkBackend):
    """Connects within a deadline, where it may."""

    def __init__(self, deadline: float, *, anywhere: bool) -> None:
        self._deadline, self._anywhere = deadline, anywhere
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (all have the deadline)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        addresses = _addresses(host, port)
        if not self._anywhere and not all(map(is_public, addresses)):
            raise NotSent("its name leads to an address that is not public")
        lost: Exception | None = None
        for address in addresses:
            try:
                stream = self._network.connect_tcp(
                    address, port, _left(self._deadline), local_address, socket_options
                )
                return _Stream(stream, self._deadline)
            except httpcore.ConnectError as error:
                lost = error
        raise lost or NotSent("its name leads nowhere")


class _Stream(httpcore.NetworkStream):
    """A connection on which no call goes on after the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """See httpcore."""
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """See httpcore."""
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        """See httpcore."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        left_s = _left(self._deadline)
        encrypted = self._stream.start_tls(ssl_context, server_hostname, left_s)
        return _Stream(encrypted, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """See httpcore."""
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    """The IP addresses of a host. Raises NotSent."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotSent("its name is not known") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _left(deadline: float) -> float:
    """The seconds until a deadline. Raises httpcore.TimeoutException after it."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise httpcore.TimeoutException
    return left_s
