"""A server that streams as it should, or fails in the way that the model's name asks for."""

import asyncio
import json
import os
import sys

TOKENS = 4


def chunk(text=None, finish=None):
    delta = {"content": text} if text is not None else {}
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def usage(prompt, completion, total=None):
    total = prompt + completion if total is None else total
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return json.dumps({"choices": [], "usage": counts})


TEXT = [chunk("")] + [chunk("word ") for _ in range(TOKENS)] + [chunk(finish="stop")]
USAGE = usage(20, TOKENS)

# Model -> what is streamed. A number is a pause in seconds; None ends the connection.
STREAMS = {
    "good": [*TEXT, USAGE, "[DONE]"],
    "two-tokens-a-chunk": [*TEXT, usage(20, 2 * TOKENS), "[DONE]"],
    "no-usage": [*TEXT, "[DONE]"],
    "comments": [": keep-alive", *TEXT, ": keep-alive", USAGE, "[DONE]"],
    "reasoning": [chunk("").replace('"content"', '"reasoning_content"').replace('""', '"hm"'), *TEXT, USAGE, "[DONE]"],
    "pause": [*TEXT[:3], 0.4, *TEXT[3:], USAGE, "[DONE]"],
    "cut": [*TEXT[:3], None],
    "cut-after-text": [*TEXT, None],
    "no-done": [*TEXT, USAGE],
    "bad-json": [*TEXT[:2], '{"choices": [', *TEXT[2:], USAGE, "[DONE]"],
    "not-an-object": [*TEXT[:2], "[7, 8]", *TEXT[2:], USAGE, "[DONE]"],
    "error-event": [*TEXT[:2], json.dumps({"error": {"message": "out of memory", "code": None}}), "[DONE]"],
    "empty": [chunk(""), chunk(finish="stop"), usage(20, 0), "[DONE]"],
    "total-wrong": [*TEXT, usage(20, TOKENS, 99), "[DONE]"],
    "over-the-limit": [*TEXT, usage(20, 100_000), "[DONE]"],
    "text-without-tokens": [*TEXT, usage(20, 0), "[DONE]"],
    "stalled": [*TEXT[:3], 30],
    "stalled-before-headers": [],
    "hangs-after-done": [*TEXT, USAGE, "[DONE]", 30],
}
STATUSES = {"429": 429, "500": 500}


async def _read(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, json.loads(await reader.readexactly(length))


async def _connected(reader, writer):
    served = 0
    try:
        while True:
            head, request = await _read(reader)
            served += 1
            model = request["model"]
            if model == "echo-key":
                key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization:"))
                await _refuse(writer, 401, key.decode())
            elif model in STATUSES or (model == "burst" and served % 2 == 0):
                await _refuse(writer, STATUSES.get(model, 429), "slow down")
            elif model == "garbage":
                writer.write(b"this is no HTTP\r\n\r\n")
                break
            elif model == "page":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello")
            elif model == "stalled-before-headers":
                await asyncio.sleep(30)
            elif not await _stream(writer, model, served):
                break
            if model == "closes-idle" and served == 1:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def _refuse(writer, status, message):
    body = json.dumps({"error": {"message": message}}).encode()
    writer.write(b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
    await writer.drain()


async def _stream(writer, model, served):
    framed = not model.startswith("unframed")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    writer.write(head + (b"transfer-encoding: chunked\r\n\r\n" if framed else b"connection: close\r\n\r\n"))
    for item in STREAMS.get(model.removeprefix("unframed-"), STREAMS["good"]):
        if item is None:
            return False
        if isinstance(item, float | int):
            await asyncio.sleep(item)
            continue
        data = f"{item}\n\n" if item.startswith(":") else f"data: {item}\n\n"
        # Split in the middle, so that nothing may rely on one event a piece.
        for piece in (data[:9].encode(), data[9:].encode()):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)
            await writer.drain()
            await asyncio.sleep(0)
    if framed:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return framed


async def main():
    server = await asyncio.start_server(_connected, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # whoever is still served has gone


if __name__ == "__main__":
    asyncio.run(main())
