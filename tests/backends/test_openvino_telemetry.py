"""OpenVINO reports its use from a forked process when it is imported. Ours must do neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Told on standard error, whatever becomes of the process; a thread of the library forks a little after the import.
WATCH = """
import os, time
os.register_at_fork(before=lambda: os.write(2, b"forked"))
{body}
time.sleep(1)
"""

BODIES = {
    "engine": "from specserve.backends.openvino import worker; worker.main()",
    "scorer": "from specserve.backends.openvino import scorer_worker; scorer_worker.main()",
    "embeddings": """
from pathlib import Path
from specserve.backends.openvino.embeddings import EmbeddingOptions, _Encoder
try:
    _Encoder(Path("absent"), EmbeddingOptions())
except Exception:
    pass
""",
}


def run(body, folder):
    # The library is silent of its own accord where it sees continuous integration, or a file in which a user declined.
    clean = {name: value for name, value in os.environ.items() if name not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    order = {"model": str(folder / "absent"), "save_to": str(folder / "saved"), "threads": 1, "device": "CPU"}
    program = subprocess.run(
        [sys.executable, "-c", WATCH.format(body=body)],
        input=json.dumps({**order, "scheduler": {}, "properties": {}}).encode() + b"\n",
        capture_output=True,
        env={**clean, "HOME": str(folder)},
        cwd=folder,
        check=False,
        timeout=60,
    )
    return program.stderr.decode()


def test_the_library_alone_forks(tmp_path):
    if "forked" not in run("import openvino", tmp_path):
        pytest.skip("this OpenVINO does not report its use, so there is nothing to keep it from")


@pytest.mark.parametrize("process", BODIES)
def test_ours_do_not(process, tmp_path):
    assert "forked" not in run(BODIES[process], tmp_path)
