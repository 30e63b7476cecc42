"""A TCP line to a local server, which a test can cut, or have lose what the server says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

#: For SO_LINGER: closing resets the connection, as a machine's end does.
RESET = struct.pack("ii", 1, 0)


class Line:
    """Listens on a port of 127.0.0.1 and carries each connection on to another."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.mute = False  # what the server says from now on is lost
        self._ends: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Reset all connections; returns how many there were."""
        ends = list(self._ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RD)  # wakes who reads from it
                end.close()
        return len(ends) // 2

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target), 5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                for ends in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        self._ends.add(source)
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                if not (answers and self.mute):
                    sink.sendall(piece)
        self._ends.discard(source)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
