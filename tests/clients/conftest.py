"""Clients are tested where they are installed: `tox run -e clients` has them all."""

import importlib.util

NEEDS = {
    "test_langchain.py": "langchain_openai",
    "test_llama_index.py": "llama_index",
    "test_lm_eval.py": "lm_eval",
}
collect_ignore = [file for file, module in NEEDS.items() if importlib.util.find_spec(module) is None]
