"""What a hostile upstream answers. Each is found by its name, which is the content of the client's last message."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

from stand_in import HEAD, STREAM_HEAD, chunk, good, piece, plain, reply, stream

JSON = "content-type: application/json\r\n"
KEY = "sk-hostile-0123456789"


def head(status="200 OK", *lines, length=None):
    sized = [f"content-length: {length}"] if length is not None else ["connection: close"]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, *sized, "", ""]).encode()


def raw(*parts, endless=b"", pause=0.0):
    """These bytes; then others without end."""

    async def send(_request, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        while endless:
            writer.write(endless)
            await writer.drain()
            await asyncio.sleep(pause)
        writer.close()

    return send


def bomb(size, wrap=b"%b"):
    """A compressed body that grows to so many bytes, of which each is a space."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin, end = wrap.split(b"%b")
    parts = [packer.compress(begin)]
    parts += [packer.compress(b" " * 2**20) for _ in range(size // 2**20)]
    return b"".join([*parts, packer.compress(end), packer.flush()])


def packed(body, kind="application/json", encoding="gzip"):
    return raw(head("200 OK", f"content-type: {kind}", f"content-encoding: {encoding}", length=len(body)) + body)


def nested(depth, inner="1"):
    return '{"a":' * depth + inner + "}" * depth


def with_text(text):
    """A whole answer with some JSON in it, as text."""
    return json.dumps(plain(extra="@")).replace('"@"', text)


def events(text):
    return stream(*good("x")[:2], f"data: {text}\n\n".encode(), *good()[2:])


FAULTY = {**plain(), "choices": [{"index": "x", "message": {"tool_calls": [{}] * 1000}}] * 100}

PLAIN = {
    "interim heads without end": raw(endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "interim heads, dripping": raw(endless=b"HTTP/1.1 102 Processing\r\n\r\n", pause=0.02),
    "headers without end": raw(b"HTTP/1.1 200 OK\r\n", endless=b"x-y: z\r\n" * 1000),
    "one header without end": raw(b"HTTP/1.1 200 OK\r\nx: ", endless=b"y" * 4096),
    "a status line without end": raw(b"HTTP/1.1 200 ", endless=b"y" * 4096),
    "no http": raw(b"SSH-2.0-OpenSSH_9.6\r\n" * 100),
    "a head that drips": raw(b"HTTP/1.1 200 OK\r\n", endless=b"x", pause=0.05),
    "a body that drips": raw(head(length=10**6), endless=b" ", pause=0.05),
    "a body without end": raw(head("200 OK", JSON.strip()), endless=b'["x",' * 10_000),
    "a chunked body without end": raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", endless=b"1\r\n[\r\n" * 10_000
    ),
    "trailers without end": raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", endless=b"x-y: z\r\n" * 1000
    ),
    "a chunk's extension without end": raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", endless=b"x=y;" * 10_000
    ),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x"),
    "a length of many digits": raw(b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "205 with a body": reply(plain(), 205),
    "206 with a body": reply(plain(), 206),
    "226 with a body": reply(plain(), 226),
    "299 with a body": reply(plain(), 299),
    "204 with a body": reply(plain(), 204),
    "304 with a body": reply(plain(), 304),
    "status 999": reply(plain(), 999),
    "an upgrade": raw(b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", b"x" * 99),
    "a redirect to itself": reply("", 302, {"location": "/v1/chat/completions"}),
    "a redirect to a file": reply("", 307, {"location": "file:///etc/passwd"}),
    "a bomb": packed(bomb(200 * 2**20, b'{"id":"%b"}')),
    "a bomb of bombs": packed(gzip.compress(bomb(100 * 2**20))),
    "many empty members": packed(gzip.compress(b"") * 50_000),
    "not gzip": packed(b"x" * 1000),
    "another encoding": packed(b"x" * 1000, encoding="br"),
    "two encodings": packed(gzip.compress(gzip.compress(b"{}")), encoding="gzip, gzip"),
    "very many faults": reply(json.dumps(FAULTY)),
    "very many lists": reply("[" + "[]," * 3_000_000 + "1]"),
    "nested deep": reply(with_text(nested(900))),
    "nested too deep": reply(with_text("[" * 100_000)),
    "a number of many digits": reply(with_text("9" * 100_000)),
    "counts of many digits": reply({**plain(), "usage": {"prompt_tokens": "9" * 5000, "completion_tokens": 1}}),
    "a code of many digits": reply({"error": {"message": "x", "code": "4" * 5000}}, 400),
    "a page without end": raw(head("500 X", "content-type: text/html"), endless=b"<title" * 1000),
    "an error that repeats the key": reply({"error": {"message": f"bad {KEY}", "code": KEY}}, 400),
    "zeros": raw(head(length=1000), b"\0" * 1000),
    "surrogates": reply('{"id": "\\ud800", "choices": []}'),
}  # fmt: skip

SSE = b"data: {}\n\n"
TEXT = b"data: " + json.dumps(chunk({"content": "x"})).encode() + b"\n\n"
STREAMS = {
    "events without end": raw(STREAM_HEAD, endless=piece(SSE * 2000)),
    "tiny chunks without end": raw(STREAM_HEAD, endless=b"1\r\n\n\r\n" * 10_000),
    "blank lines without end": raw(STREAM_HEAD, endless=piece(b"\n" * 60_000)),
    "comments without end": raw(STREAM_HEAD, endless=piece(b": x\n\n" * 10_000)),
    "comments that drip": raw(STREAM_HEAD, endless=piece(b": x\n\n"), pause=0.05),
    "a line without end": raw(STREAM_HEAD, endless=piece(b"data: x" * 10_000)),
    "a line that drips": raw(STREAM_HEAD, endless=piece(b"x"), pause=0.02),
    "lines of one event without end": raw(STREAM_HEAD, endless=piece(b"data:\n" * 10_000)),
    "carriage returns without end": raw(STREAM_HEAD, endless=piece(b"\r" * 60_000)),
    "text without end": raw(STREAM_HEAD, endless=piece(50 * TEXT)),
    "a bomb in a stream": packed(bomb(200 * 2**20, b"data: %b\n\n"), "text/event-stream"),
    "a bomb of blank lines": packed(
        zlib.compress(b"\n" * 200 * 2**20, 9), "text/event-stream", "deflate"
    ),
    "an event of very many lists": events('{"choices":[' + "[]," * 1_300_000 + "1]}"),
    "an event of very many faults": events(json.dumps(FAULTY)),
    "an event nested deep": events(nested(900)),
    "calls without number": events(
        json.dumps({**HEAD, "choices": [{"index": 0, "delta": {"tool_calls": [{"index": at} for at in range(9000)]}}]})
    ),
    "choices without number": events(json.dumps({**HEAD, "choices": [{"index": at} for at in range(9000)]})),
    "an error that repeats the key, streamed": stream({"error": {"message": f"bad {KEY}", "code": 400}}),
    "interim heads before a stream": raw(endless=b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 1000),
    "206 with events": raw(b"HTTP/1.1 206 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n", SSE),
    "silence amid a stream": stream(*good("x")[:2], end=False, done=False),
}  # fmt: skip


async def answer(request, writer):
    """The attack that the client asked for."""
    name = request.body["messages"][-1]["content"]
    await {**PLAIN, **STREAMS, "well": reply(plain())}[name](request, writer)
