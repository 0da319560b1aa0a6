"""Clients in environments of their own, since they do not agree on versions; each environment is made once.

A script that uses a client prints one JSON object: per case `{"ok": result}` or `{"error": text}`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import CHAT, EMBED

HERE = Path(__file__).parent
# What locks our own packages must not hold those of others, nor may a proxy stand before a server of this machine.
FOREIGN = {"PIP_CONSTRAINT", "UV_CONSTRAINT", "PYTHONPATH", "VIRTUAL_ENV", "HTTP_PROXY", "http_proxy", "ALL_PROXY"}


def home():
    """The folder below which the environments are made."""
    return Path(os.environ["SPECSERVE_TEST_CLIENTS"])


def call(*command, timeout, cwd=None):
    """Run a command to its end; its output, if it fails, is in the error."""
    environ = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=timeout
    )
    said = f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{said}"
    return done.stdout


def once(folder, *files, make):
    """The folder, made by `make(folder)` unless it is there, complete, from files with the same content."""
    wanted = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    complete = folder / "complete"
    if not complete.exists() or complete.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        complete.write_text(wanted)
    return folder


def node_modules():
    """The folder that holds the scripts for node and the npm packages of `package-lock.json`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm) or int(call(node, "--version", timeout=60).lstrip("v").split(".")[0]) < 20:
        pytest.skip("install node >= 20, with npm, to test the clients of npm")
    sources = HERE / "node"
    locks = [sources / "package.json", sources / "package-lock.json"]

    def make(folder):
        for lock in locks:
            shutil.copy(lock, folder)
        call(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", timeout=540, cwd=folder)

    folder = once(home() / "node", *locks, make=make)
    for script in sources.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def python_of(name):
    """The interpreter of the environment that `apart/NAME.txt` describes."""
    pinned = HERE / "apart" / f"{name}.txt"
    uv = (sys.executable, "-m", "uv")

    def make(folder):
        call(*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", timeout=120)
        python = folder / "venv" / "bin" / "python"
        call(*uv, "pip", "install", "--quiet", "--python", python, "--requirement", pinned, timeout=540)

    return once(home() / name, pinned, make=make) / "venv" / "bin" / "python"


def results(server, *command, cwd):
    """What a script says of each of its cases; it is given the base URL, the chat model and the embedding model."""
    printed = call(*command, f"{server.url}/v1", CHAT, EMBED, timeout=540, cwd=cwd)
    return json.loads(printed.splitlines()[-1])


def failures(cases):
    """The cases that did not go well. There has to be one case at least."""
    assert cases
    return {name: case["error"] for name, case in cases.items() if set(case) != {"ok"}}
