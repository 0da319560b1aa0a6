"""Opens models and tokenizers with transformers. Used in the engine's process only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def quiet() -> None:
    """Keep transformers' advice and bars out of the server's log."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def device_of(order: dict[str, Any]) -> torch.device:
    """The device that a model is to be opened on.

    Raises:
        ValueError: There is no such device.
    """
    import torch

    name = order["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:
        raise ValueError(f"there is no device {name!r} here") from error
    return device


def open_model(order: dict[str, Any], kind: Any) -> PreTrainedModel:
    """Open a model with one of transformers' classes that find out the architecture.

    Args:
        order: See `order.py`.
        kind: Such as ``AutoModelForCausalLM``.

    Raises:
        ValueError: What is asked for cannot be done here.
        OSError: Files are missing or damaged. The library raises other errors too.
    """
    import torch

    device = device_of(order)
    path = Path(order["model"])
    dtype = order["dtype"]
    if dtype == "auto" and device.type == "cpu":
        dtype = "float32"  # few CPUs compute with 16 bits as fast
    torch.set_float32_matmul_precision("highest" if order["precision"] == "exact" else "high")
    known: dict[str, Any] = {
        "dtype": dtype if dtype == "auto" else getattr(torch, dtype),
        "attn_implementation": order["attn_implementation"],
        "trust_remote_code": order["trust_remote_code"],
        "local_files_only": True,
        "quantization_config": _quantization(order["quantization"], device, exact=dtype == "float32"),
    }
    if device.type != "cpu":
        known["device_map"] = {"": str(device)}  # straight there, not by way of main memory
    source = path if path.is_dir() else path.parent
    if not path.is_dir():
        known["gguf_file"] = path.name
    model = kind.from_pretrained(source, **known)
    for adapter in order["adapters"]:
        model = _adapted(model, adapter)
    model.requires_grad_(False)
    return model.eval()


def precision(order: dict[str, Any], model: PreTrainedModel, *, caches: bool) -> dict[str, Any]:
    """The fields of `Precision` for a model that is open."""
    import torch

    compute = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}.get(model.dtype)
    if order["quantization"] == "int8":
        compute = "f16"  # bitsandbytes casts activations to it, and rounds them
    return {
        "compute": compute,
        "kv_cache": compute if caches else None,
        "dynamic_quantization": order["quantization"] == "int8",
    }


def tokenizer_json(order: dict[str, Any]) -> str | None:
    """The tokenizer of a directory as a tokenizer.json has it, or None if there is none that could be read."""
    path = Path(order["model"])
    if not path.is_dir():
        return None
    if (path / "tokenizer.json").exists():
        return (path / "tokenizer.json").read_text("utf-8")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=order["trust_remote_code"], local_files_only=True
        )
        text: str = tokenizer.backend_tokenizer.to_str()
    except Exception:  # noqa: BLE001 - whatever it trips over, the server says that there is none
        return None
    return text


def _quantization(name: str | None, device: torch.device, *, exact: bool) -> Any:
    if name is None:
        return None
    if device.type == "cpu":
        raise ValueError("option 'quantization' needs a GPU")
    import torch
    from transformers import BitsAndBytesConfig

    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.float32 if exact else torch.bfloat16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _adapted(model: Any, adapter: str) -> Any:
    if not (Path(adapter) / "adapter_config.json").exists():
        raise ValueError(f"{adapter} is no adapter: it has no adapter_config.json")
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).merge_and_unload()
