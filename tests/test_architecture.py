"""Heavy libraries stay in their places, and files small. Who may import whom is checked by import-linter."""

import ast
from pathlib import Path

import pytest

from specserve.backends.table import BACKENDS

ROOT = Path(__file__).parent.parent

FOLDERS = ("spec", "generated", "telemetry", "backends", "models", "handlers", "server", "conformance", "loadtest")

# Heavy libraries, and the only places that may name them.
HEAVY = {
    "aiohttp": ("backends/http/", "backends/watsonx/"),
    "openvino": "backends/openvino/",
    "gguf": "backends/openvino/",
    "openvino_genai": "backends/openvino/",
    "openvino_tokenizers": "backends/openvino/",
    "safetensors": "backends/openvino/",
    "accelerate": "backends/huggingface/",
    "huggingface_hub": "backends/huggingface/",
    "peft": "backends/huggingface/",
    "torch": "backends/huggingface/",
    "transformers": "backends/huggingface/",
    "xgrammar": "backends/huggingface/",
    "tokenizers": "backends/",
    "numpy": "backends/",
    "connexion": "server/http/connexion_seam.py",
    "locust": "loadtest/",
    "gevent": "loadtest/",
    "matplotlib": "loadtest/report/",
}


WORDS = {"echo", "upstream"}  # backends whose names mean something else as well


def sources():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path):
    """Every imported module, as (dotted name, whether the import runs when the file is imported)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in tree.body
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "specserve":
                for alias in node.names:
                    yield f"specserve.{alias.name}", node in tree.body
            else:
                yield node.module, node in tree.body


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_heavy_library_stays_in_its_place_and_is_imported_lazily(path):
    relative = path.relative_to(ROOT).as_posix()
    for module, at_top in imports(path):
        home = HEAVY.get(module.split(".")[0])
        if home is None:
            continue
        assert relative.startswith(home), f"{relative} must not import {module}"
        if relative.startswith("backends/"):
            assert not at_top, f"{relative} must import {module} where it is used"


def test_no_hand_written_file_is_longer_than_400_lines():
    long = {
        str(path.relative_to(ROOT)): count
        for path in [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
        if path != ROOT / "generated" / "models.py" and (count := len(path.read_text().splitlines())) > 400
    }
    assert not long


def package(backend):
    """The package or module of a backend of the table, below ``specserve.backends``."""
    return BACKENDS[backend].partition(":")[0].split(".")[2]


def test_a_backend_is_imported_only_by_itself_and_named_only_there_and_in_the_table():
    faults = []
    for path in sources():
        relative = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text())
        names = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        imported = {module for module, _ in imports(path)}
        for backend in BACKENDS:
            own = f"backends/{package(backend)}"
            if relative == "backends/table.py" or relative.startswith((f"{own}/", f"{own}.py")):
                continue
            module = f"specserve.backends.{package(backend)}"
            faults += [f"{relative} imports {each}" for each in imported if f"{each}.".startswith(f"{module}.")]
            if backend in names and backend not in WORDS:
                faults.append(f"{relative} names {backend!r}")
            faults += [f"{relative} names {name!r}" for name in names if name.startswith(f"{module}.")]
    assert not faults
