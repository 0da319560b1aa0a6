"""The kit and the fuzzer, on our server in front of the stand-in for IBM's cloud."""

import json
import os
import subprocess
import sys
from pathlib import Path

from watsonx_cloud import CHAT, EMBED

SERVER_TESTS = Path(__file__).parents[2] / "server"


def run(*arguments, cwd, **environ):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
        cwd=cwd,
        env={**os.environ, **environ},
    )


def test_it_is_conformant(server, cloud, tmp_path):
    done = run(
        "specserve",
        "conform",
        f"{server.url}/v1",
        "--model",
        CHAT,
        "--embedding-model",
        EMBED,
        "--profile",
        "all",
        "--report",
        tmp_path / "report",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    judged = json.loads((tmp_path / "report" / "results.json").read_text())
    assert judged["verdicts"] == {"strict": "conformant", "sdk": "conformant"}
    assert judged["counts"]["PASS"] > 200
    unsupported = {entry["id"] for entry in judged["requirements"] if entry["status"] == "UNSUPPORTED"}
    assert not [name for name in unsupported if name.startswith(("tools.", "structured.", "logprobs.", "stream."))]


def test_fuzzing_finds_nothing(server, cloud, tmp_path):
    done = run(
        "schemathesis.cli",
        "--config-file",
        SERVER_TESTS / "schemathesis.toml",
        "run",
        f"{server.url}/openapi.json",
        "--phases=examples,fuzzing",  # the others are tried on other models
        "--max-examples=25",
        "--include-path-regex=completions|embeddings",
        cwd=tmp_path,
        SCHEMATHESIS_HOOKS=str(SERVER_TESTS / "fuzz_hooks.py"),
        FUZZ_CHAT_MODEL=CHAT,
        FUZZ_EMBEDDING_MODEL=EMBED,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # What IBM refuses of all that is its own bounds, not a request that it does not know.
    assert not [line for line in cloud.refused if "unknown field" in line or "Missing" in line]
