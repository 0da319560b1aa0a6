"""What an installation puts into site-packages."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("spec", "generated", "telemetry", "backends", "models", "handlers", "server", "conformance", "loadtest")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_has_one_top_level_name(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"specserve"}


def test_the_wheel_ships_types_spec_and_pages(wheel):
    names = set(wheel.namelist())
    assert "specserve/backends/local/prompts/templates/chatml.jinja" in names
    assert {"specserve/py.typed", "specserve/spec/swagger.yaml", "specserve/http/swagger_ui/index.html"} <= names


def test_every_module_of_the_house_is_in_the_wheel(wheel):
    names = set(wheel.namelist())
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.relative_to(ROOT).as_posix()
            installed = inside.replace("server/", "specserve/", 1) if folder == "server" else f"specserve/{inside}"
            assert installed in names, f"{inside} is not installed"


def test_no_room_of_the_server_bears_the_name_of_another_folder():
    rooms = {path.name for path in (ROOT / "server").iterdir() if path.is_dir()}
    assert not rooms & {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "server"}


def test_the_base_install_needs_no_server_library():
    """The command line, the spec and the models must work without any extra."""
    program = (
        "import sys\n"
        "blocked = {'connexion','starlette','uvicorn','structlog','jsonschema_rs','orjson','openvino','numpy','jinja2',"
        "'platformdirs','locust','gevent','matplotlib','rich'}\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in blocked: raise ModuleNotFoundError('No module named %r' % name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import specserve.cli.main, specserve.generated.models, specserve.spec.document\n"
        "specserve.spec.document.load()\n"
        "import os\n"
        "for name in [name for name in os.environ if name.startswith('SPECSERVE_')]: del os.environ[name]\n"
        "sys.argv = ['specserve', 'serve']\n"
        "specserve.cli.main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install 'specserve[server]'" in line
