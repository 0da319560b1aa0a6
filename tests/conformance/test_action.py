"""The steps of the GitHub Action, as a runner would do them: the kit is on the path, the files are the runner's."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ACTION = Path(__file__).parents[2] / "deploy" / "conformance"


def act(tmp_path, **inputs):
    """Run the step that judges; return the exit code, the outputs and the summary."""
    action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "judge")
    values = {name: row.get("default", "") for name, row in action["inputs"].items()} | inputs
    environ = {name: values[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()}
    output, summary = tmp_path / "output", tmp_path / "summary"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
        },
    )
    return done, output.read_text(), summary.read_text() if summary.exists() else ""


def test_the_action_judges_and_tells(golden_server, tmp_path):
    done, output, summary = act(
        tmp_path,
        **{
            "base-url": f"{golden_server.url}/v1",
            "api-key": "key-for-the-golden-server",
            "profiles": "completions embeddings",
            "arguments": "--only models.* --only embeddings.* --max-time 60",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert output == "exit-code=0\n"
    assert "conformant" in summary
    assert (tmp_path / "conformance-report" / "report.html").exists()


def test_what_is_put_into_an_input_is_not_run(tmp_path):
    done, output, _ = act(tmp_path, **{"base-url": "$(touch run); touch run", "arguments": "; touch run"})
    assert done.returncode == 2
    assert output == "exit-code=2\n"
    assert not (tmp_path / "run").exists()
