"""Starts and log streams that go wrong."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

PATIENCE = 240
SERVE = [sys.executable, "-m", "specserve", "serve", "--model", "echo"]


def environ(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SPECSERVE_") or k == "SPECSERVE_HOME"}
    return {**clean, **more}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def until_served(port, process):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=60, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("it does not serve")


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_of_three_servers_that_start_on_one_port_only_one_says_that_it_serves():
    port = free_port()
    three = [
        subprocess.Popen(
            [*SERVE, "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ(),
        )
        for _ in range(3)
    ]
    said = ["", "", ""]

    def read(number):
        with three[number].stdout as lines:
            said[number] = lines.read()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    try:
        limit = time.monotonic() + PATIENCE
        while sum(process.poll() is None for process in three) > 1:
            assert time.monotonic() < limit, "more than one goes on"
            time.sleep(0.1)
        [winner] = [process for process in three if process.poll() is None]
        assert until_served(port, winner).status_code == 200
    finally:
        for process in three:
            end(process)
        for reader in readers:
            reader.join()
    assert sum("Serving at" in text for text in said) == 1
    assert sum(f"port {port} on 127.0.0.1 is in use" in text for text in said) == 2
    assert sorted(process.returncode for process in three) == [0, 1, 1]


@pytest.mark.parametrize("how", ["full", "closed", "unread pipe", "pipe without a reader"])
def test_a_standard_error_that_takes_nothing_does_not_stop_the_server(how):
    """More requests are answered than lines fit into a pipe."""
    port = free_port()
    held = []
    error, before = subprocess.DEVNULL, None
    if how == "full":
        error = os.open("/dev/full", os.O_WRONLY)
        held.append(error)
    elif how == "closed":
        before = "import os,sys; os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    else:
        reading, error = os.pipe()
        held += [error] if how == "unread pipe" else []
        held.append(reading)
    command = [*SERVE, "--port", str(port), "--shutdown-grace-seconds", "1"]
    if before is not None:
        command = [sys.executable, "-c", before, *command[1:]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=error, env=environ())
    if how == "pipe without a reader":
        os.close(error)
        os.close(held.pop())
    try:
        until_served(port, process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            for _ in range(800):
                assert client.get("/v1/models").status_code == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        end(process)
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("name", ["SPECSERVE_API_KEYS", "SPECSERVE_ADMIN_KEYS"])
def test_keys_that_are_none_are_refused_in_one_line(name):
    found = subprocess.run(
        [*SERVE, "--port", "0"],
        check=False,
        capture_output=True,
        text=True,
        env=environ(**{name: " , ,"}),
        timeout=PATIENCE,
    )
    assert found.returncode == 2
    assert re.fullmatch(rf".*{name}: .* holds no key; .*\n", found.stderr)
    assert found.stdout == ""


def test_a_file_with_an_empty_list_of_keys_is_refused_in_one_line(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text("api_keys = []\n")
    found = subprocess.run(
        [*SERVE, "--port", "0", "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
        env=environ(),
        timeout=PATIENCE,
    )
    assert found.returncode == 2
    assert "api_keys holds no key" in found.stderr
    assert found.stderr.count("\n") == 1
