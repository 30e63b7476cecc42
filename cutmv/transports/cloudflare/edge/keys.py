"""Refuses keys so short that they might be guessed, but between processes of one machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from cutmv.transports.cloudflare.edge.signature import MIN_KEY_BYTES, is_loopback, too_short
from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.options import Options


def check_keys(options: Options) -> None:
    """Raise `ConfigurationError` where `edge_keys` are too short for where requests go or come."""
    hosts = [urlsplit(options.edge_url).hostname] if options.edge_url else []
    if options.consume == "push":
        hosts.append(options.ingress_host)
    if options.edge_keys and too_short(options.edge_keys) and not all(map(is_loopback, hosts)):
        raise ConfigurationError(
            f"cloudflare transport: option edge_keys (or CLOUDFLARE_EDGE_KEYS) has a key of less "
            f"than {MIN_KEY_BYTES} bytes, which is allowed on loopback alone: make one by "
            f'echo "whsec_$(openssl rand -base64 32)", here and for the Worker'
        )
