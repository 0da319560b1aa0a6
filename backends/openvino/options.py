"""The settings of an OpenVINO text model, as the operator may give them in `options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specserve.backends.openvino.adapters import AdapterOptions
from specserve.backends.openvino.conversion import DEFAULT_WEIGHT_FORMAT, WeightFormat
from specserve.backends.options import Options, PrecisionMode

ComputeFormat = Literal["f32", "bf16", "f16"]
CacheFormat = Literal["u8", "f16", "bf16", "f32"]


class TextOptions(Options):
    """What an OpenVINO text model can be told."""

    device: Annotated[str, Field(min_length=1, description="OpenVINO device, such as CPU or GPU.")] = "CPU"
    cache_size_gb: Annotated[int, Field(ge=0, description="KV cache in GiB; 0 lets it grow as requests need it.")] = 2
    precision: Annotated[
        PrecisionMode,
        Field(
            description="`exact` computes in 32-bit floats. `fast` changes the defaults of the next three options to "
            "what is fastest; answers then depend on what else runs."
        ),
    ] = "exact"
    compute_precision: Annotated[
        ComputeFormat | None,
        Field(description="Number format of sums and products; default: f32, with `fast` the device's own choice."),
    ] = None
    kv_cache_precision: Annotated[
        CacheFormat | None,
        Field(
            description="Number format of the KV cache; u8 holds four times as many tokens as f32. Default: f32, on "
            "other devices than CPUs f16, with `fast` u8."
        ),
    ] = None
    dynamic_quantization: Annotated[
        bool | None,
        Field(description="Whether to round activations to 8 bits. Default: false, with `fast` true."),
    ] = None
    max_num_batched_tokens: Annotated[
        int, Field(ge=1, description="Most tokens in one engine step; longer prompts are prefilled in parts.")
    ] = 256
    max_num_seqs: Annotated[int, Field(ge=1, description="Most sequences in one engine step; the others wait.")] = 256
    num_threads: Annotated[int | None, Field(ge=1, description="CPU threads of the engine; default: all cores.")] = None
    enable_prefix_caching: Annotated[bool, Field(description="Reuse the KV cache of equal beginnings.")] = True
    context_length: Annotated[int | None, Field(ge=1, description="Instead of what the model's files say.")] = None
    tokenizer: Annotated[
        str | None, Field(min_length=1, description="A tokenizer.json instead of the model's own tokenizer.")
    ] = None

    adapters: list[AdapterOptions] = Field(
        default=[], description="LoRA adapters, all in effect in all answers; see below."
    )
    weight_format: Annotated[
        WeightFormat, Field(description="Number format of the weights, where a Hugging Face model is converted.")
    ] = DEFAULT_WEIGHT_FORMAT

    @property
    def rounds_activations(self) -> bool:
        """Whether activations are rounded to 8 bits."""
        return self.precision == "fast" if self.dynamic_quantization is None else self.dynamic_quantization

    @property
    def cache_format(self) -> CacheFormat:
        """The number format of the KV cache."""
        if self.kv_cache_precision is not None:
            return self.kv_cache_precision
        if self.precision == "fast":
            return "u8"
        return "f32" if self.device == "CPU" else "f16"  # of other devices it is not known whether they have f32

    def compute_format(self) -> dict[str, str | bool]:
        """What the engine process is told of the number format of sums and products; see `precision.py`."""
        if self.compute_precision is not None:
            return {"format": self.compute_precision, "required": True}
        return {"format": "f32" if self.precision == "exact" else "device", "required": False}

    @property
    def whole_zeros(self) -> bool:
        """Whether a GGUF file is to be converted to weights of 8 bits; see `gguf_weights.py`."""
        return self.rounds_activations or self.device != "CPU"  # of other devices it is not known what they can read

    def scheduler(self) -> dict[str, int | bool]:
        """The fields of the engine's SchedulerConfig."""
        return {
            "cache_size": self.cache_size_gb,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            "enable_prefix_caching": self.enable_prefix_caching,
        }

    def properties(self) -> dict[str, int | str]:
        """The properties that OpenVINO compiles the model with."""
        properties: dict[str, int | str] = {"KV_CACHE_PRECISION": self.cache_format}
        if not self.rounds_activations:
            # The plugin's choice is to round. Attention differs in the last bit between one sequence and several, and
            # rounding makes steps of that: an answer would depend on who else asked, also where its seed is the same.
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        if self.cache_format == "u8":
            # The engine's choice, BY_CHANNEL, scales whole blocks: as a block that the prefix cache shares fills up,
            # what it holds changes a little, and with it the answers of equal requests with equal seeds.
            properties["KEY_CACHE_QUANT_MODE"] = "BY_TOKEN"
        if self.num_threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self.num_threads
        return properties
