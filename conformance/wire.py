"""Send one request and write down all that comes back, in bounded time and memory, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from specserve.conformance.evidence import Answer, Broken, Sent, TimedEvent
from specserve.conformance.sse import Parser

LARGEST = 4 * 1024 * 1024
"""Bytes of an answer that are read; the longest honest one of this kit's requests is far below."""

MOST_EVENTS = 4000
"""Events of a stream that are read: each is judged by itself, so a flood of empty ones would take minutes."""

TRIED_AGAIN = frozenset({429, 502, 503, 504})
_MOST_ATTEMPTS = 3
_LONGEST_WAIT = 20.0


class Wire:
    """Sends requests to one server, one after the other, over kept connections.

    Args:
        timeout: Seconds that one exchange may take, whatever trickles in meanwhile.
        sleep: Waits before another attempt.
    """

    def __init__(self, timeout: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._timeout = timeout
        self._sleep = sleep
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            follow_redirects=False,
            headers={"user-agent": "specserve-conformance"},
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=1),
        )
        self._kept: Any = None  # the socket of the connection that the next request may find open

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, sent: Sent, *, abandon: bool = False, deadline: float | None = None) -> Answer:
        """Send a request; try again only what says nothing about the server: limits and infrastructure errors.

        Args:
            sent: The request.
            abandon: Close the connection after the first event.
            deadline: The moment (monotonic) after which nothing may be waited for.
        """
        attempt = 0
        while True:
            attempt += 1
            answer, fresh = self._once(sent, abandon=abandon)
            if answer.broken is Broken.CUT and answer.status == 0 and not fresh:
                # A server may close a kept connection when it likes (RFC 9112, 9.5): that does not answer this request.
                answer, _ = self._once(sent, abandon=abandon)
            answer.attempts = attempt
            if answer.status not in TRIED_AGAIN or attempt == _MOST_ATTEMPTS:
                return answer
            wait = _retry_after(answer, default=0.5 * 2**attempt)
            if wait > _LONGEST_WAIT or (deadline is not None and time.monotonic() + wait > deadline):
                return answer
            self._sleep(wait)

    def _once(self, sent: Sent, *, abandon: bool) -> tuple[Answer, bool]:
        """One attempt, and whether it opened a connection of its own."""
        answer = Answer(sent)
        started = time.monotonic()
        watch = _Watch(self._kept)
        try:
            with _hard_stop(self._timeout, watch):
                request = self._client.build_request(
                    sent.method,
                    sent.url,
                    headers=list(sent.headers),
                    content=sent.body or None,
                    extensions={"trace": watch.trace},
                )
                self._read(request, answer, started, abandon=abandon)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            _break(answer, Broken.CONNECT, error)
        except httpx.TimeoutException as error:
            _break(answer, Broken.TIMEOUT, error)
        except httpx.RemoteProtocolError as error:
            # h11 tells a cut body and malformed bytes with one class; the first is about the end of the message.
            cut = answer.status != 0 or "disconnected" in str(error)
            _break(answer, Broken.CUT if cut else Broken.PROTOCOL, error)
        except (httpx.NetworkError, OSError) as error:
            _break(answer, Broken.CUT, error)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            _break(answer, Broken.PROTOCOL, error)
        answer.seconds = time.monotonic() - started
        if answer.broken in {Broken.CUT, Broken.PROTOCOL} and answer.seconds >= self._timeout:
            answer.broken = Broken.TIMEOUT  # the hard stop shuts the socket, which looks like a cut
        self._kept = watch.socket
        return answer, watch.fresh

    def _read(self, request: httpx.Request, answer: Answer, started: float, *, abandon: bool) -> None:
        response = self._client.send(request, stream=True)
        body, size, parser = [], 0, Parser()
        try:
            answer.status = response.status_code
            answer.headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
            answer.first_byte = time.monotonic() - started
            for piece in response.iter_bytes():
                now = time.monotonic() - started
                size += len(piece)
                body.append(piece)
                if answer.is_stream:
                    answer.events += [TimedEvent(event, now) for event in parser.feed(piece)]
                if abandon and answer.events:
                    answer.abandoned = True
                    return
                if size > LARGEST or len(answer.events) > MOST_EVENTS:
                    _break(answer, Broken.TOO_LARGE, f"more than {LARGEST} bytes or {MOST_EVENTS} events")
                    return
                if now > self._timeout:
                    _break(answer, Broken.TIMEOUT, f"still sending after {self._timeout:g} s")
                    return
            if answer.is_stream:
                answer.unfinished_event = parser.pending
                answer.events += [TimedEvent(event, time.monotonic() - started) for event in parser.close()]
        finally:
            answer.body = b"".join(body)[:LARGEST]
            answer.invalid_utf8 = parser.invalid_utf8
            response.close()


def _break(answer: Answer, broken: Broken, why: object) -> None:
    answer.broken = broken
    answer.detail = str(why)[:300]


def _retry_after(answer: Answer, default: float) -> float:
    try:
        return max(0.0, float(answer.header("retry-after") or default))
    except ValueError:
        return default  # a date; not worth a calendar


class _Watch:
    """Learns the socket of an exchange from httpx's trace, so that it can be shut from outside.

    Args:
        kept: The socket of the exchange before, which is this one's as well unless a connection is opened.
    """

    def __init__(self, kept: Any) -> None:
        self.socket = kept
        self.fresh = False

    def trace(self, name: str, info: dict[str, Any]) -> None:
        if name in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self.socket = info["return_value"].get_extra_info("socket")
            self.fresh = True

    def shut(self) -> None:
        try:
            if self.socket is not None:
                self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed in the same moment


@contextmanager
def _hard_stop(seconds: float, watch: _Watch) -> Iterator[None]:
    """A server that sends one byte a second defeats every timeout that is told per read."""
    timer = threading.Timer(seconds + 0.5, watch.shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
