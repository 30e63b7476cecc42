"""A TCP line to a server that is some milliseconds away, there and back.

    python bench/delay_line.py 127.0.0.1:6379 --round-trip-ms 50

Prints the port it listens on, on 127.0.0.1. Bytes travel as on a long cable: each takes half the
round trip, and any number may be under way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

#: Bytes read at a time.
_CHUNK = 65_536


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what comes, each piece `delay_s` after it came."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_CHUNK):
            under_way.put_nowait((time.monotonic() + delay_s, piece))
    under_way.put_nowait((time.monotonic() + delay_s, b""))
    with contextlib.suppress(ConnectionError):
        await delivering
    writer.close()


async def serve(host: str, port: int, delay_s: float) -> None:
    """Take connections until the process ends."""

    async def connect(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(near_in, far_out, delay_s), carry(far_in, near_out, delay_s))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="HOST:PORT")
    parser.add_argument("--round-trip-ms", type=float, default=50)
    options = parser.parse_args()
    host, _, port = options.server.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(host, int(port), options.round_trip_ms / 2000))


if __name__ == "__main__":
    main()
