"""The environment that converts models: optimum-intel with torch and a transformers that suits it, apart from ours.

It lies in the cache directory, made by `specserve models convert` through pip as pip is configured; or it is this very
environment, if ``specserve[convert]`` was installed into it. An environment in the cache is whole or not there: it is
made beside its place and then renamed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from specserve.backends.weights.cache import cache_dir
from specserve.spec.errors import BackendLoadError

_STDERR = 2  # the descriptor, whatever sys.stderr is
_EXTRA = re.compile(r"^(?P<requirement>[^;]+);\s*extra\s*==\s*['\"]convert['\"]\s*$")


def converter() -> Path | None:
    """The interpreter that can convert, or None."""
    if _here():
        return Path(sys.executable)
    python = _python(_folder())
    return python if python.exists() else None


def install_converter() -> Path:
    """Make the environment, unless there is one; returns its interpreter. Takes minutes; pip's output is shown.

    Raises:
        BackendLoadError: pip could not install it. Nothing is left of the attempt.
    """
    from filelock import FileLock

    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".converter.lock"):
        found = converter()
        if found is not None:
            return found
        for left_over in folder.parent.glob(".converter-*.tmp"):  # by a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converter-", suffix=".tmp"))
        try:
            venv.create(work, with_pip=False, symlinks=os.name != "nt")
            _install(_python(work), work)
            for old in folder.parent.glob("converter-*"):  # for other versions of what is installed
                shutil.rmtree(old, ignore_errors=True)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return _python(folder)


def _install(python: Path, work: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise BackendLoadError(f"this needs pip in this environment: run `{sys.executable} -m ensurepip`")
    wanted = _requirements()
    if not _pip(python, work, "install", *wanted):
        raise BackendLoadError(
            f"pip could not install {', '.join(wanted)}; check the network, or the index pip is set to use"
        )
    # Required for models that see. Its package for GPUs breaks beside a torch for CPUs, and transformers with it.
    _pip(python, work, "uninstall", "--yes", "torchvision")


def _pip(python: Path, work: Path, *arguments: str) -> bool:
    """Run pip on an environment; what it says goes where progress goes. Returns whether it succeeded."""
    command = [sys.executable, "-P", "-m", "pip", "--python", str(python), *arguments]
    command += ["--no-input", "--disable-pip-version-check"]
    # Packages of gigabytes are unpacked where there is room for them, not in a /tmp that may be memory.
    environment = os.environ | {"TMPDIR": str(work), "TMP": str(work), "TEMP": str(work)}
    done = subprocess.run(  # noqa: S603 - the command is ours
        command, stdin=subprocess.DEVNULL, stdout=_STDERR, env=environment, check=False
    )
    return done.returncode == 0


def _here() -> bool:
    try:
        return importlib.util.find_spec("optimum.exporters.openvino") is not None
    except ModuleNotFoundError:
        return False


def _requirements() -> list[str]:
    """What the extra `convert` names, and the OpenVINO that will run what is made."""
    found = map(_EXTRA.match, importlib.metadata.requires("specserve") or [])
    named = [match["requirement"].strip() for match in found if match]
    if not named:
        raise BackendLoadError("this installation of specserve is older than its code: install it again")
    return named + [f"{name}=={importlib.metadata.version(name)}" for name in ("openvino", "openvino-tokenizers")]


def _folder() -> Path:
    """Where the environment is; another version of anything in it is another folder."""
    identity = "|".join([*_requirements(), sys.version, sys.base_prefix])
    return cache_dir() / f"converter-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
