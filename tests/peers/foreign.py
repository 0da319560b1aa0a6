"""Servers that others wrote: how each is installed and started. Each has an environment of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from servers import CHAT, EMBED

KEY = "sk-key-for-the-peers-0123456789abcdef"
LITELLM = "1.106.2"
LLAMA_CPP_PYTHON = "0.3.36"
SPOKEN = ("tools", "structured", "logprobs", "completions")
LLAMA_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
}
# Its threads wait for each other by spinning: where other work takes one of two cores, a token takes seconds.
ONE_THREAD = {
    "llama-server": ("--threads", "1"),
    "llama-cpp-python": ("--n_threads", "1", "--n_threads_batch", "1"),
}


@dataclass(frozen=True)
class Peer:
    """A server that runs.

    Attributes:
        url: Its base address.
        version: What it is, with its version.
        options: For `specserve conform`.
    """

    url: str
    version: str
    options: tuple[str, ...]


def call(*command, **environ):
    # What locks our own packages must not hold those of others.
    clean = {name: value for name, value in os.environ.items() if name not in {"PIP_CONSTRAINT", "PYTHONPATH"}}
    subprocess.run([*map(str, command)], check=True, env={**clean, **environ})


def environment(folder, *packages, **environ):
    """A virtual environment with packages; made once."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        call(sys.executable, "-m", "venv", "--clear", folder)
        call(python, "-m", "pip", "install", "--quiet", *packages, **environ)
        (folder / "complete").touch()
    return python


def llama_source(home):
    """The source of llama-cpp-python, which holds that of llama.cpp."""
    folder = home / f"llama_cpp_python-{LLAMA_CPP_PYTHON}"
    if not folder.exists():
        call(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", home),
            # Not `:all:`, which would compile CMake as well: what it takes to read the metadata comes ready-made.
            *("--no-binary", "llama-cpp-python", f"llama-cpp-python=={LLAMA_CPP_PYTHON}"),
        )
        with tarfile.open(home / f"{folder.name}.tar.gz") as archive:
            archive.extractall(home, filter="data")
    return folder


def llama_build(home):
    """The folder of `llama-server` and the libraries, compiled once; the Python package takes the same libraries."""
    build = home / "llama.cpp"
    if not (build / "bin" / "llama-server").exists():
        options = [f"-D{name}={value}" for name, value in LLAMA_OPTIONS.items()]
        call("cmake", "-G", "Ninja", "-S", llama_source(home) / "vendor" / "llama.cpp", "-B", build, *options)
        call("cmake", "--build", build, "--target", "llama-server")
    return build / "bin"


@contextmanager
def started(command, url, log, **environ):
    """Run a command until it answers; end it by its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environ}
        )
        try:
            until = time.monotonic() + 240
            while not answers(url):
                assert process.poll() is None, f"it ended: {log.read_text(errors='replace')[-2000:]}"
                assert time.monotonic() < until, f"it did not get ready: {log.read_text(errors='replace')[-2000:]}"
                time.sleep(0.5)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(url):
    try:
        reply = httpx.get(f"{url}/models", headers={"authorization": f"Bearer {KEY}"}, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return reply.status_code == 200


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def weights():
    """The GGUF file of the default model."""
    said = subprocess.run([sys.executable, "-m", "specserve", "models", "path", CHAT], check=True, capture_output=True)
    found = Path(said.stdout.decode().strip().splitlines()[-1])
    return next(iter(sorted(found.glob("*.gguf")))) if found.is_dir() else found


@contextmanager
def litellm(home, ours):
    """The LiteLLM proxy in front of our server. Without `prisma` it answers 500 where a key is missing."""
    python = environment(home / "litellm", f"litellm[proxy]=={LITELLM}", "prisma")
    port = free_port()
    config = home / "litellm.json"  # JSON is YAML
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"{ours()}/v1", "api_key": "unused"},
        }
        for name in (CHAT, EMBED)
    ]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    command = [python.parent / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port]
    url = f"http://127.0.0.1:{port}/v1"
    with started(command, url, home / "litellm.log", LITELLM_LOCAL_MODEL_COST_MAP="True"):
        yield Peer(
            url,
            f"LiteLLM proxy {LITELLM} in front of our server, with a master key, without a database",
            ("--embedding-model", EMBED, "--profile", "all"),
        )


@contextmanager
def llama_cpp_python(home, _ours):
    """The server of llama-cpp-python."""
    libraries = llama_build(home)
    python = environment(
        home / "llama-cpp-python", f"{llama_source(home)}[server]", CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"
    )
    place = next((home / "llama-cpp-python").glob("lib/python*/site-packages/llama_cpp")) / "lib"
    place.mkdir(exist_ok=True)
    for library in libraries.glob("lib*.so*"):
        shutil.copy2(library, place)
    port = free_port()
    command = [python, "-m", "llama_cpp.server", "--model", weights(), "--model_alias", CHAT]
    command += ["--host", "127.0.0.1", "--port", port, "--api_key", KEY, *ONE_THREAD["llama-cpp-python"]]
    url = f"http://127.0.0.1:{port}/v1"
    with started(command, url, home / "llama-cpp-python.log"):
        yield Peer(url, f"llama-cpp-python {LLAMA_CPP_PYTHON}, `python -m llama_cpp.server`", declared(SPOKEN))


@contextmanager
def llama_server(home, _ours):
    """The server of llama.cpp itself."""
    program = llama_build(home) / "llama-server"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = next((line for line in (said.stdout + said.stderr).splitlines() if line.startswith("version")), "")
    port = free_port()
    command = [program, "--model", weights(), "--alias", CHAT, "--host", "127.0.0.1", "--port", port]
    command += ["--api-key", KEY, "--jinja", "--ctx-size", 8192, "--offline", *ONE_THREAD["llama-server"]]
    url = f"http://127.0.0.1:{port}/v1"
    with started(command, url, home / "llama-server.log"):
        yield Peer(
            url,
            f"llama.cpp `llama-server` from the source in llama-cpp-python {LLAMA_CPP_PYTHON}, {version}",
            declared(SPOKEN),
        )


def declared(profiles):
    return tuple(word for profile in profiles for word in ("--profile", profile))


PEERS = {"litellm": litellm, "llama-cpp-python": llama_cpp_python, "llama-server": llama_server}
