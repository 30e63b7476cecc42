"""Who asks: the person who has signed in, or the address where nobody does."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import g, request

from cutmv.config import Network
from cutmv.web.state import web

#: Bits of an IPv6 address that one customer of a provider has for themselves, at least.
IPV6_PREFIX = 64
#: What all local clients are called where the address can't be told.
UNKNOWN = "unknown"


def client_key() -> str:
    """A name for who makes this request: few bytes, and the same for all of their requests."""
    person_id = getattr(g.get("person"), "id", None)
    return f"person:{person_id}" if person_id else f"address:{client_address()}"


def quota(name: str) -> int:
    """How much of a limit's kind who asks may use: the person's own, or else the deployment's."""
    own: Mapping[str, int] = getattr(g.get("person"), "quotas", {})
    return own.get(name, getattr(web().services.settings.limits, name))


def client_address() -> str:
    """The address that the request comes from, as trusted proxies tell it; IPv6 by its network.

    Proxies add the address of who asked them at the end of X-Forwarded-For. What is before the
    last that no trusted proxy has added may be anybody's invention.
    """
    trusted = web().services.settings.trusted_proxies
    told = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    address = _address(request.remote_addr or "")
    while address is not None and told and _is_of(address, trusted):
        before = _address(told.pop())
        if before is None:
            break
        address = before
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _is_of(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
