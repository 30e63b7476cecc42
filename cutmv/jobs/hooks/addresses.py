"""Where hooks may lead: to the public network, so that nobody has our machine ask its neighbours.

A name is looked at when something is sent there, since whoever owns it may have it lead elsewhere
meanwhile. Pure.
"""

import ipaddress
from urllib.parse import urlsplit

from cutmv.people import Refused

#: Characters of an address.
MAX_URL_CHARS = 2_000
#: The networks of IPv6 in which the last 32 bits are an IPv4 address (RFC 6052, RFC 8215).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_url(url: str, *, anywhere: bool) -> str:
    """An address as it is kept: `https`, to no private address, unless it may be `anywhere`.

    Raises Refused.
    """
    schemes = ("https", "http") if anywhere else ("https",)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port_is_right = parts.port != 0
    except ValueError:
        raise Refused("This is no address: use one like https://example.com/hook.") from None
    if parts.scheme not in schemes:
        raise Refused("A webhook's address must start with https://.")
    plain = url.isascii() and url.isprintable() and " " not in url
    if not host or not plain or not port_is_right or len(url) > MAX_URL_CHARS:
        raise Refused("This is no address: use one like https://example.com/hook.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Refused("A webhook's address has no user, password or fragment.")
    if not anywhere and (host == "localhost" or _is_private(host)):
        raise Refused("A webhook's address must be one of the public network.")
    return url


def is_public(address: str) -> bool:
    """Whether an IP address is of the public network, also where it has another one in it."""
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(each.is_global and not each.is_multicast for each in _meant(found))


def _is_private(host: str) -> bool:
    """Whether a host is an IP address that is not public; what a name leads to is seen later."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return not is_public(host)


def _meant(address: Address) -> list[Address]:
    """The address, or that to which a gateway would pass what is sent there, beside it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inside = [each for each in (address.sixtofour, *(address.teredo or ())) if each is not None]
    if any(address in network for network in _TRANSLATED):
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *inside]
