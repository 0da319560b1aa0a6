"""The environment variables of servers that specserve takes the place of, so that their deployments go on working.

| Variable | What it becomes |
| --- | --- |
| `HF_MODEL` | the one model that is served: a path, or a name on the Hugging Face hub |
| `HOTLOAD` | `load`: `start` if true, so that the model is warm before the first request, else `request` |
| `TORCH_DTYPE` | the option `dtype` of the backend that runs on PyTorch |
| `ATTN_IMPLEMENTATION` | its option `attn_implementation` |

They count only where no model is configured in any other way, since other programs read variables of these names too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specserve.backends.table import backend_for

MODEL, EARLY = "HF_MODEL", "HOTLOAD"
_OPTIONS = {"TORCH_DTYPE": "dtype", "ATTN_IMPLEMENTATION": "attn_implementation"}
_HUB = "hf"  # the scheme of a source on the hub, whose backend runs on PyTorch

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def replaced_settings(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """What the variables say, as setting -> (variable, value); empty without `HF_MODEL`.

    Raises:
        ValueError: One says what it cannot; the message begins with the variable.
    """
    source = environ.get(MODEL, "").strip()
    if not source:
        return {}
    # PyTorch's own names of types are written both ways, `torch.float16` and `float16`.
    options = {option: environ[name].removeprefix("torch.") for name, option in _OPTIONS.items() if environ.get(name)}
    table: dict[str, Any] = {"source": source, "backend": backend_for(_HUB) or "", "options": options}
    if not Path(source).expanduser().exists():
        table["source"] = f"{_HUB}:{source.removeprefix(f'{_HUB}:')}"
    settings: dict[str, tuple[str, Any]] = {"models": (MODEL, [table])}
    early = environ.get(EARLY, "").strip().lower()
    if early and early not in _TRUE | _FALSE:
        raise ValueError(f"{EARLY} must be true or false")
    if early:
        settings["load"] = (EARLY, "start" if early in _TRUE else "request")
    return settings
