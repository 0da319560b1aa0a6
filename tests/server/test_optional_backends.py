"""Backends whose library is missing or broken, in a server's process of its own."""

import pytest
from servers import EMBED, running

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "openvino":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "openvino" else find(name, package)
"""


@pytest.fixture
def without(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    return {"PYTHONPATH": str(tmp_path)}


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libopenvino.so.1:\\n no such file')")
    return {"PYTHONPATH": str(tmp_path)}


def test_a_backend_that_no_model_needs_is_told_and_skipped(without):
    with running("--model", "echo", environ=without) as server:
        told = [line for line in server.output if "a backend is not available" in line]
    (line,) = [line for line in told if "backend=openvino" in line]  # there may be others, such as those on torch
    assert "pip install 'specserve[openvino]'" in line


@pytest.mark.parametrize("load", ["start", "request"])
def test_a_backend_that_a_model_needs_is_an_error(without, load):
    with pytest.raises(AssertionError) as ended, running("--model", EMBED, "--load", load, environ=without):
        pass
    told = str(ended.value).splitlines()
    assert "pip install 'specserve[openvino]'" in told[-1]
    assert not any("Traceback" in line for line in told)


def test_a_broken_library_is_an_error_in_one_line(broken):
    with pytest.raises(AssertionError) as ended, running("--model", EMBED, environ=broken):
        pass
    told = str(ended.value).splitlines()
    assert told[-1].endswith("a library of it is broken: libopenvino.so.1: no such file")
    assert not any("Traceback" in line for line in told)
