"""Servers for the tests of the load test, and the command in a process of its own."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from keys import KEY

HERE = Path(__file__).parent


@contextmanager
def started(*command):
    """A server that prints its port and ends when its input does."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def faulty():
    with started(HERE / "faulty.py") as url:
        yield url


@pytest.fixture(scope="session")
def paced():
    with started("-m", "specserve.loadtest.stub", "--first", "0.05", "--gap", "0.01") as url:
        yield url


@pytest.fixture
def slow():
    with started("-m", "specserve.loadtest.stub", "--first", "0.6", "--gap", "0.1") as url:
        yield url


def _command(arguments):
    """`specserve load` with quick settings; what is given comes last and wins."""
    quick = ("--duration", "1", "--warmup", "0.5", "--output-tokens", "8", "--no-calibration")
    return [sys.executable, "-m", "specserve", "load", *quick, *map(str, arguments)]


OPTIONS = {"text": True, "env": {"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": KEY, "COLUMNS": "120"}}


@pytest.fixture(scope="session")
def load():
    """Runs `specserve load` to its end."""

    def run(*arguments):
        return subprocess.run(_command(arguments), check=False, capture_output=True, timeout=280, **OPTIONS)

    return run


@pytest.fixture
def load_in_background():
    """Starts `specserve load`, which does not outlive the test."""
    processes = []

    def start(*arguments, stdout=subprocess.PIPE):
        process = subprocess.Popen(
            _command(arguments),
            stdout=stdout,
            stderr=subprocess.STDOUT,
            # What a shell starts in the background ignores interrupts, and so would what tests run there start.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509  it takes no lock that a thread could hold
            **OPTIONS,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
