"""Opens a signed WebSocket connection to the hub; needs the extra ``push``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.edge.hub_protocol import MAX_FRAME
from cutmv.transports.cloudflare.edge.publishing import to_edge
from cutmv.transports.cloudflare.errors import extra_missing

# At DEBUG the library logs headers, and signatures with them.
_library_logger = logging.getLogger(f"{__name__}.websocket")
_library_logger.setLevel(logging.WARNING)

#: Seconds to open a connection, and to close it.
OPEN_TIMEOUT, CLOSE_TIMEOUT = 5.0, 1.0


Connect = Callable[[str, str, str, str], Any]


def connector() -> tuple[Connect, tuple[type[Exception], ...]]:
    """Return a function that opens a WebSocket by the Worker's URL and keys, client id and scope.

    And the errors that it, and the WebSocket, raise where there is no connection. Raises
    `ConfigurationError` where the package is missing.
    """
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise extra_missing("an edge_url", "push") from None

    def open_socket(edge_url: str, keys: str, client_id: str, scope: str) -> Any:
        target = f"/v1/hub?{urlencode({'client': client_id, 'scope': scope})}"
        return connect(
            edge_url.rstrip("/").replace("http", "ws", 1) + target,
            additional_headers=signature.headers(keys, to_edge("GET", target)),
            user_agent_header="cutmv-transport",
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_FRAME,
            compression=None,
            logger=_library_logger,
        )

    return open_socket, (OSError, WebSocketException)
