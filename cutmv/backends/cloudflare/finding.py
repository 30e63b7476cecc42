"""Finds the edge Worker that keeps an app's results, as the transport finds its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from celery.exceptions import ImproperlyConfigured

from cutmv.transports.cloudflare.edge import check_keys
from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.options import Options

#: The options that name the Worker, and their environment variables.
NAMES = {"edge_url": "CLOUDFLARE_EDGE_URL", "edge_keys": "CLOUDFLARE_EDGE_KEYS"}


def find_edge(conf: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the Worker's URL and keys, of an app's configuration.

    Each is the first that there is of ``result_backend_transport_options``, of
    ``broker_transport_options`` where the broker is ``cloudflare://``, and of the environment.
    Raises `ImproperlyConfigured` where there is none, or a wrong one.
    """
    sources = [conf.get("result_backend_transport_options") or {}]
    if str(conf.get("broker_url") or "").startswith("cloudflare:"):
        sources.append(conf.get("broker_transport_options") or {})
    sources.append({name: environ.get(variable) for name, variable in NAMES.items()})
    found = {name: next(filter(None, (each.get(name) for each in sources)), "") for name in NAMES}
    if not found["edge_url"]:
        raise ImproperlyConfigured(
            "result backend cloudflare://: there is no edge Worker: deploy edge/, then set "
            "CLOUDFLARE_EDGE_URL and CLOUDFLARE_EDGE_KEYS, or edge_url and edge_keys in "
            "result_backend_transport_options"
        )
    try:
        options = Options(edge_url=found["edge_url"], edge_keys=found["edge_keys"])
        check_keys(options)
    except ConfigurationError as error:
        told = str(error).removeprefix("cloudflare transport: ")
        raise ImproperlyConfigured(f"result backend cloudflare://: {told}") from None
    return options.edge_url, options.edge_keys


def host_of(url: str) -> str:
    """Return the Worker's host, for people."""
    return urlsplit(url).hostname or url
