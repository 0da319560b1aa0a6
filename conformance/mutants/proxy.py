"""A proxy in front of a good server that breaks its answers in one point."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from specserve.conformance import exchanges
from specserve.conformance.evidence import Sent
from specserve.conformance.exchanges.render import NotRendered, render
from specserve.conformance.mutants import Mutant, operations
from specserve.conformance.mutants.reply import Reply
from specserve.conformance.target import Target
from specserve.spec import document
from specserve.spec.paths import Paths

_FRAMING = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"})


class Proxy:
    """Forwards requests to the good server and changes what comes back.

    Args:
        upstream: The good server, as the kit would be told of it: address, key and models.
        mutant: The change; None is an honest proxy.
    """

    def __init__(self, upstream: Target, mutant: Mutant | None = None) -> None:
        self.upstream = upstream
        self.mutant = mutant
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._names = _names(upstream)
        self._alike = {name: group for group in self._names.values() for name in group}
        self._paths = Paths(document.load())
        self.url = ""

    def use(self, mutant: Mutant | None) -> None:
        """Be another broken server from now on."""
        with self._lock:
            self.mutant = mutant
            self._seen.clear()

    def matches(self, sent: Sent, status: int | None = None) -> bool:
        """Whether the mutant may change the answer to a request; with a status, whether it does."""
        names = self._alike.get(sent.exchange, set())
        return self._matches(names | {sent.exchange}, sent.method, self._path(sent.url), sent.json, status)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Ask the good server, then break the answer."""
        request = _json(body)
        names = self._names.get(_key(method, path, headers, body), set())
        reply = self._good(method, path, headers, body)
        with self._lock:
            mutant = self.mutant
            if mutant is None or not self._matches(names, method, path, request, reply.status):
                return reply
            self._seen[mutant.id] += 1
            if self._seen[mutant.id] < int(mutant.when.get("nth", 1)):
                return reply
        for step in mutant.do:
            for operation, argument in step.items():
                if operation == "answer":
                    other = render(exchanges.load()[argument], self.upstream, {})
                    reply = self._good(other.method, self._path(other.url), dict(other.headers), other.body)
                else:
                    operations.apply(reply, operation, argument, request)
        return reply

    def _path(self, url: str) -> str:
        return url.removeprefix(self.upstream.url).removeprefix(self.url)

    def _matches(self, names: set[str], method: str, path: str, request: Any, status: int | None) -> bool:
        when = self.mutant.when if self.mutant else {"never": True}
        return all(self._fits(key, wanted, names, method, path, request, status) for key, wanted in when.items())

    def _fits(
        self, key: str, wanted: Any, names: set[str], method: str, path: str, request: Any, status: int | None
    ) -> bool:
        options = wanted if isinstance(wanted, list) else [wanted]
        body = request if isinstance(request, dict) else {}
        match key:
            case "exchange":
                return any(fnmatchcase(name, pattern) for name in names for pattern in options)
            case "operation":
                return self._operation(method, path) in options
            case "stream":
                return bool((body.get("stream") is True) == wanted)
            case "has":
                return body.get(wanted) not in (None, []) and not any(name.startswith("errors.") for name in names)
            case "tool-result":
                return any(isinstance(m, dict) and m.get("role") == "tool" for m in body.get("messages", [])) and bool(
                    body.get("tools")
                )
            case "status":
                return status is None or bool(status >= 400 if wanted == "error" else status == wanted)
            case "nth":
                return True
            case _:
                return False

    def _operation(self, method: str, path: str) -> str | None:
        found = self._paths.find(path.partition("?")[0])
        return found[0].get(method) if found else None

    def _good(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        parts = urlsplit(self.upstream.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            passed = {name: value for name, value in headers.items() if name not in {"host", "connection"}}
            connection.request(method, parts.path + path, body=body or None, headers=passed)
            response = connection.getresponse()
            content = response.read()
            kept = {name.lower(): value for name, value in response.getheaders() if name.lower() not in _FRAMING}
            return Reply(response.status, kept, content)
        finally:
            connection.close()


@contextmanager
def serving(proxy: Proxy) -> Iterator[str]:
    """Listen on a free port of loopback; gives the base address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = proxy.answer(self.command, self.path.removeprefix("/v1"), headers, body)
            if reply.wire == "hang-up":
                self.close_connection = True
                return
            length = len(reply.body) + (100 if reply.wire == "length-too-long" else 0)
            sent = reply.body[: len(reply.body) * 2 // 3] if reply.wire == "cut" else reply.body
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(length))
            if reply.wire:
                self.send_header("connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = do_OPTIONS = do_HEAD = reply  # noqa: N815  the names are the library's

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False  # kept connections would be waited for
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield proxy.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _names(target: Target) -> dict[tuple[str, ...], set[str]]:
    """Which exchanges a request may be, told by the request alone."""
    found: dict[tuple[str, ...], set[str]] = {}
    for exchange in exchanges.load().values():
        try:
            sent = render(exchange, target, {})
        except NotRendered:
            continue
        key = _key(sent.method, sent.url.removeprefix(target.url), dict(sent.headers), sent.body)
        found.setdefault(key, set()).add(exchange.name)
    return found


def _key(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[str, ...]:
    request = _json(body)
    text = json.dumps(request, sort_keys=True) if request is not None else body.decode(errors="replace")
    told = tuple(headers.get(name, "") for name in ("authorization", "content-type", "content-encoding", "upgrade"))
    return (method, path, text, *told)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
