"""Who may come in: the names that the server answers to, and whether people must sign in.

Any web page can have its own name lead to this machine (DNS rebinding), and its visitors' browsers
take the two for one site. So a request must name the server by a name of its own, or by an IP
address, which is no name that anybody could have lead elsewhere.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cutmv.config import Settings

#: The `Host` of a request: a name, or an IPv6 address in brackets; then, perhaps, the port.
_HOST = re.compile(r"^(?:\[([0-9a-f:.]+)\]|([^\[\]:@/\\,\s]+))(?::\d{0,5})?$", re.ASCII)


@dataclass(frozen=True)
class Door:
    """How requests are let in: `hosts` are names in lower case, beside all IP addresses."""

    sign_in: bool
    hosts: frozenset[str]

    @classmethod
    def of(
        cls, settings: Settings, addresses: Iterable[str] | None, names: Iterable[str] = ()
    ) -> "Door":
        """The door of a server that listens on `addresses`, which was asked for by `names`.

        People sign in unless each is a loopback address; also where the addresses are not known
        (None), or are the paths of Unix sockets, behind which there is a proxy, or where CUTMV_URL
        says that others reach the server by one.
        """
        listens_on = None if addresses is None else list(addresses)
        here_alone = bool(listens_on) and all(map(_is_loopback, listens_on or ()))
        url = urlsplit(settings.access.url or "http://localhost").hostname or ""
        by_proxy = url != "localhost" and not _is_loopback(url)
        own = {"localhost", *settings.access.hosts, *names}
        if not here_alone:
            own.add(socket.gethostname())
        return cls(
            sign_in=settings.access.sign_in == "always" or by_proxy or not here_alone,
            hosts=frozenset(name.lower() for name in own if name),
        )

    def answers_to(self, host: str) -> bool:
        """Whether a request may name the server so, as its `Host` does."""
        found = _HOST.match(host.lower())
        if found is None:
            return False
        name = found[1] or found[2].removesuffix(".")
        return name in self.hosts or _address(name) is not None


def _is_loopback(address: str) -> bool:
    found = _address(address)
    return found is not None and found.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # ::ffff:127.0.0.1 is how a socket of both families has 127.0.0.1.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
