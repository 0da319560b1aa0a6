"""A copy of the house in which a toy can be built, as a contributor would: edit files, generate, check, serve."""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "performance", "*.egg-info", "build")


class House:
    """The copy.

    Attributes:
        root: Its folder.
        environ: The environment of a process that finds it under the name `specserve`, before any that is installed.
    """

    def __init__(self, root: Path):
        self.root = root
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, root / path.name)
            elif (path / "__init__.py").exists() or path.name in {"docs", "tests", "benchmarks"}:
                shutil.copytree(path, root / path.name, ignore=_LEFT_OUT)
        # `server/` is `specserve`, any other folder `x/` is `specserve.x`.
        package = root / ".installed" / "specserve"
        package.mkdir(parents=True)
        folders = [path for path in root.iterdir() if (path / "__init__.py").exists() and path.name != "server"]
        for path in [*(root / "server").iterdir(), *folders]:
            (package / path.name).symlink_to(path)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        # Without the variables of whoever runs the tests: a server takes SPECSERVE_ variables for settings.
        own = {k: v for k, v in os.environ.items() if not k.startswith("SPECSERVE_") or k == "SPECSERVE_HOME"}
        self.environ = {**own, "PYTHONPATH": str(package.parent), "PATH": path}

    def add(self, toy):
        """Put the new files of a toy into their places."""
        tree = TOYS / toy / "tree"
        for path in filter(Path.is_file, tree.rglob("*")):
            place = self.root / path.relative_to(tree)
            assert not place.exists(), f"{place} is not new"
            shutil.copy(path, place)

    def edit(self, file, *, before=None, after=None, text):
        """Write a text into a file that is there, before or after a place that it has once."""
        path = self.root / file
        content = path.read_text()
        place = before or after
        assert content.count(place) == 1, f"{file} has {place!r} {content.count(place)} times"
        path.write_text(content.replace(place, text + place if before else place + text))

    def append(self, file, text):
        """Write a text at the end of a file."""
        path = self.root / file
        path.write_text(path.read_text() + text)

    def tox(self, environment):
        """What `tox run -e ENVIRONMENT` runs, here."""
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(self.root / "tox.ini")
        for line in tox[f"testenv:{environment}"]["commands"].strip().splitlines():
            self.run(*shlex.split(line))

    def run(self, *command):
        """Run a command that must succeed; gives what it printed."""
        command = [sys.executable if word == "python" else word for word in command]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environ,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout
