import os
import subprocess
import sys

import pytest

from specserve.cli import main as cli
from specserve.config.settings import Settings
from specserve.config.sources import flag_name


def specserve(*arguments, code=None, **environment):
    command = [sys.executable, *(["-c", code] if code else ["-m", "specserve"]), *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPECSERVE_")}
    return subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version_is_told():
    assert specserve("--version").stdout.startswith("specserve 0.")


def test_help_lists_the_commands_without_importing_them():
    code = (
        "import sys; from specserve.cli import main as cli; sys.argv = ['specserve', '--help']\n"
        "try: cli.main()\nfinally: print(sorted({'pydantic', 'starlette', 'connexion'} & set(sys.modules)))"
    )
    result = specserve(code=code)
    assert result.returncode == 0
    for name in cli.COMMANDS:
        assert f"\n  {name} " in result.stdout
    assert result.stdout.endswith("[]\n")


def test_help_for_serve_shows_every_setting_and_needs_no_extra():
    code = (
        "import sys; from specserve.cli import main as cli; sys.argv = ['specserve', 'serve', '--help']\n"
        "sys.modules.update(dict.fromkeys(['starlette', 'connexion', 'uvicorn', 'structlog']))\ncli.main()"
    )
    result = specserve(code=code)
    assert result.returncode == 0, result.stderr
    for name in Settings.model_fields:
        assert f" {flag_name(name)} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--prot", "1"], {}, "--prot"),
        (["--port", "x"], {}, "--port: input should be a valid integer"),
        (["--log-format", "xml"], {}, "--log-format"),
        (["--config", "absent.toml"], {}, "absent.toml: No such file"),
        ([], {"SPECSERVE_PROT": "1"}, "unknown setting SPECSERVE_PROT; did you mean SPECSERVE_PORT?"),
        (["--model", "echo", "--model", "echo"], {}, "--model: two models have the id 'echo'"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(arguments, environment, said):
    result = specserve("serve", *arguments, **environment)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("specserve serve: ")
    assert said in line


def test_an_unknown_command_is_one_line():
    result = specserve("srve")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)


def without(module):
    """Run the command as if a module were not installed."""
    return (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.partition('.')[0] == {module!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from specserve.cli.main import main\n"
        "main()"
    )


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["serve", "--model", "echo"], "uvicorn", "server"),
        (["serve", "--model", "echo"], "connexion", "server"),
        (["models", "list"], "platformdirs", "openvino"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(arguments, module, extra):
    result = specserve(*arguments, code=without(module))
    assert result.returncode == 1
    # The server may have told of other backends that nobody needs.
    (line,) = [line for line in result.stderr.splitlines() if "a backend is not available" not in line]
    assert line.endswith(f": pip install 'specserve[{extra}]'")


def test_a_module_that_no_extra_brings_is_a_crash_and_not_hidden():
    result = specserve("serve", "--model", "echo", code=without("werkzeug"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
