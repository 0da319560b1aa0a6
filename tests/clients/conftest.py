"""Clients are tested where they are installed: `tox run -e clients` has them all."""

import importlib.util
import os

NEEDS = {
    "test_langchain.py": "langchain_openai",
    "test_llama_index.py": "llama_index",
    "test_lm_eval.py": "lm_eval",
}
APART = ["test_node.py", "test_apart.py"]
collect_ignore = [file for file, module in NEEDS.items() if importlib.util.find_spec(module) is None]
if not os.environ.get("SPECSERVE_TEST_CLIENTS"):
    collect_ignore += APART
