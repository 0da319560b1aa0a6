"""The kit and schemathesis against the backend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "server"


@pytest.mark.timeout(400)
def test_the_server_is_conformant(server, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "specserve", "conform", f"{server.url}/v1", "--model", "tiny-llama",
            "--embedding-model", "tiny-bert", "--profile", "all", "--max-time", "300", "--report", str(tmp_path),
        ],
        check=False, capture_output=True, text=True, timeout=390,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.timeout(600)
def test_no_5xx_no_undocumented_status_no_schema_violation(server, tmp_path):
    environ = {
        "SCHEMATHESIS_HOOKS": str(FUZZ / "fuzz_hooks.py"), "FUZZ_CHAT_MODEL": "tiny-llama",
        "FUZZ_EMBEDDING_MODEL": "tiny-bert",
    }  # fmt: skip
    config = FUZZ / "schemathesis.toml"
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{server.url}/openapi.json"],
        check=False, capture_output=True, text=True, timeout=580, cwd=tmp_path, env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
