"""Real servers for the tests: each is `specserve serve` in a process of its own, spoken to over its socket."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx

CHAT = "smollm2-135m-instruct"
EMBED = "all-minilm-l6-v2"


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Where it listens, without `/v1`.
        output: Lines it has printed so far, both streams.
    """

    url: str
    process: subprocess.Popen
    output: list[str] = field(default_factory=list)

    def client(self, **options):
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False, **options)

    def health(self):
        return httpx.get(f"{self.url}/health", timeout=60, trust_env=False).json()


@contextmanager
def running(*arguments, environ=None, ready_within=240, cwd=None):
    """Start a server on a free port, wait until it says where it listens, end it by its process id."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SPECSERVE_") or name == "SPECSERVE_HOME"
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "specserve", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=cwd,
        env={**clean, **(environ or {})},
    )
    output, ready, found = [], threading.Event(), []

    def read():
        for line in process.stdout:
            output.append(line)
            address = re.search(r"(http://[^\s/]+:\d+)/", line)
            if address and not found:
                found.append(address[1])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(ready_within), "the server did not get ready:\n" + "".join(output)
        assert found, "the server ended:\n" + "".join(output)
        yield Server(found[0], process, output)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(40)
        finally:
            # A child that outlives the server (seen once: a fork that never came to itself) would hold our pipe open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            reader.join(10)
            process.stdout.close()
