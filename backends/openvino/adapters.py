"""LoRA adapters: what their files hold, and how the engine takes them.

PEFT writes a directory with adapter_model.safetensors and adapter_config.json. How strongly an adapter was trained to
count stands in the second (``lora_alpha / r``), of which the engine knows nothing: so it is read here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from specserve.backends.openvino.seams import MODEL
from specserve.backends.options import Options
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = "base_model.model."
_A, _B, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"

# What PEFT can do beside plain LoRA, and how it says that it does not.
_PLAIN: Mapping[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False,),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "modules_to_save": ([],),
    "layer_replication": ([],),
    "trainable_token_indices": ([],),
}


class AdapterOptions(Options):
    """One adapter, as the operator names it."""

    path: Annotated[str, Field(min_length=1, description="A directory as PEFT writes it, or a safetensors file.")]
    alpha: Annotated[
        float, Field(allow_inf_nan=False, description="How strongly it counts; 1 is as it was trained.")
    ] = 1.0


@dataclass(frozen=True)
class Adapter:
    """An adapter whose files were read.

    Attributes:
        path: The safetensors file.
        alpha: What the product of its matrices is multiplied with.
        layers: Names of the layers that it changes.
    """

    path: Path
    alpha: float
    layers: tuple[str, ...]


def read_adapter(options: AdapterOptions) -> Adapter:
    """Read an adapter's files, but for its numbers.

    Raises:
        BackendLoadError: It cannot be read, or is more than plain LoRA.
    """
    path = Path(options.path).expanduser()
    config = (path if path.is_dir() else path.parent) / "adapter_config.json"
    if path.is_dir():
        path /= "adapter_model.safetensors"
    layers = _layers(path)
    return Adapter(path.absolute(), options.alpha * _scale(config), layers)


def _layers(path: Path) -> tuple[str, ...]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BackendLoadError(f"cannot read the adapter {path}: {error}") from error
    layers = sorted({name.removesuffix(_A).removesuffix(_B) for name in shapes if name.endswith((_A, _B))})
    strange = [name for name in shapes if not name.startswith(_ROOT) or not name.endswith((_A, _B, _ALPHA))]
    if strange or not layers:
        what = f"holds {strange[0]!r}" if strange else "is empty"
        raise BackendLoadError(f"the adapter {path} {what}; PEFT's are pairs such as {_ROOT}model...{_A} and {_B}")
    for layer in layers:
        a, b = shapes.get(layer + _A), shapes.get(layer + _B)
        if a is None or b is None or len(a) != 2 or len(b) != 2 or a[0] != b[1]:
            raise BackendLoadError(f"the adapter {path} has no matching pair of matrices for {layer!r}")
    return tuple(layer.removeprefix(_ROOT) for layer in layers)


def _scale(config: Path) -> float:
    if not config.exists():
        return 1.0
    try:
        about: Any = json.loads(config.read_text("utf-8"))
        for key, plain in _PLAIN.items():
            if about.get(key) is not None and about[key] not in plain:
                raise BackendLoadError(f"{config}: {key} = {json.dumps(about[key])} is more than plain LoRA")
        return float(about["lora_alpha"]) / (math.sqrt(about["r"]) if about.get("use_rslora") else about["r"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise BackendLoadError(f"{config} does not tell lora_alpha and r: {error!r}") from error


def adapter_config(adapters: Sequence[Mapping[str, Any]], folder: Path) -> Any:
    """The engine's AdapterConfig of adapters as they stand in the order; runs in the engine's process.

    Raises:
        RuntimeError: An adapter changes a layer that the model does not have, of which the engine only warns.
    """
    import openvino as ov
    import openvino_genai

    model = ov.Core().read_model(folder / MODEL)
    names = [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "MatMul"]
    for adapter in adapters:
        for layer in adapter["layers"]:
            if not any(layer in name for name in names):
                raise RuntimeError(f"the adapter {adapter['path']} changes {layer!r}, which this model does not have")
    pairs = [(openvino_genai.Adapter(adapter["path"]), adapter["alpha"]) for adapter in adapters]
    # Static: part of the model from its opening on. The other modes are for changing adapters between requests.
    return openvino_genai.AdapterConfig(pairs, openvino_genai.AdapterConfig.Mode.MODE_STATIC)
