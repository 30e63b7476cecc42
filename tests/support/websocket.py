"""A WebSocket client that loses nothing of what comes together with the server's acceptance."""

from __future__ import annotations

import simple_websocket


class Client(simple_websocket.Client):
    """`simple_websocket.Client`, which reads those events only when more bytes come."""

    def _thread(self) -> None:
        self.connected = self._handle_events()
        super()._thread()
