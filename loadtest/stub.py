"""A server for calibration: it streams at a set pace and writes into each chunk when it sends it.

It runs in a process of its own, on another loop than the load test's, and ends when its input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time

STAMP = "x_sent"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def _serve(first: float, gap: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                request = json.loads(await reader.readexactly(length))
                await _answer(writer, request, first, gap)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # whoever is still served has gone


async def _answer(writer: asyncio.StreamWriter, request: dict[str, object], first: float, gap: float) -> None:
    count = int(str(request["max_tokens"]))
    due = time.perf_counter() + first
    writer.write(_HEAD)
    for number in range(count):
        await asyncio.sleep(max(due + number * gap - time.perf_counter(), 0))
        finish = "length" if number + 1 == count else None
        chunk = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": finish}]}
        _send(writer, json.dumps({**chunk, STAMP: time.perf_counter()}))
        await writer.drain()
    usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
    _send(writer, json.dumps({"choices": [], "usage": usage}))
    _send(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _send(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(event), event))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=float, default=0.05, help="seconds before the first token")
    parser.add_argument("--gap", type=float, default=0.02, help="seconds between tokens")
    options = parser.parse_args()
    asyncio.run(_serve(options.first, options.gap))
