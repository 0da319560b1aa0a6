"""Connections that are kept: a server may close them, and it may stall on them."""

import socket
import struct
import threading
import time

from specserve.conformance.evidence import Broken, Sent
from specserve.conformance.wire import Wire

BODY = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"


def send(wire, url):
    return wire.send(Sent("models.list", "listModels", "GET", f"{url}/models", (), b""))


def serving(*connections):
    """Serve each connection in turn by one of the given functions; return the address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk():
        with listener:
            for behave in connections:
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(5)
                    behave(peer)

    threading.Thread(target=talk, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def answer(peer):
    peer.recv(1 << 16)
    peer.sendall(BODY)


def answer_and_reset(peer):
    answer(peer)
    peer.recv(1 << 16)  # the reset crosses the next request
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_kept_connection_that_the_server_closed_is_no_cut_answer():
    wire = Wire(2)
    url = serving(answer_and_reset, answer)
    assert send(wire, url).status == 500
    again = send(wire, url)
    wire.close()
    assert (again.status, again.broken) == (500, None)


def test_a_new_connection_without_an_answer_is_one():
    wire = Wire(2)
    nothing = send(wire, serving(lambda peer: peer.recv(1 << 16)))
    wire.close()
    assert nothing.broken is Broken.CUT


def test_a_trickle_on_a_kept_connection_is_stopped():
    sent, stopped = [], threading.Event()

    def trickle(peer):
        answer(peer)
        peer.recv(1 << 16)
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        try:
            for _ in range(1000):
                peer.sendall(b"X-Drip: 1\r\n")
                sent.append(1)
                time.sleep(0.1)
        except OSError:
            stopped.set()

    wire = Wire(0.5)
    url = serving(trickle)
    send(wire, url)
    slow = send(wire, url)
    wire.close()
    assert slow.broken is Broken.TIMEOUT
    assert stopped.wait(60), "all that was to come was waited for"
    assert len(sent) < 1000
