"""The settings of a model on transformers, as the operator may give them in `options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specserve.backends.options import Options, PrecisionMode


class HuggingFaceOptions(Options):
    """What a model on transformers can be told."""

    device: Annotated[
        str, Field(min_length=1, description="PyTorch device, such as cpu or cuda:1; auto takes a GPU if there is one.")
    ] = "auto"
    precision: Annotated[
        PrecisionMode,
        Field(
            description="`exact` computes in 32-bit floats, whatever the files hold: on a GPU twice the memory of 16 "
            "bits, and slower. `fast` is dtype auto, and TF32 where there are 32 bits left."
        ),
    ] = "exact"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None,
        Field(
            description="Number format of weights, sums and KV cache; auto is float32 on a CPU, else what the files "
            "say. Default: float32, with `fast` auto."
        ),
    ] = None
    attn_implementation: Annotated[
        Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"],
        Field(description="How attention is computed; flash attention needs its package and a GPU."),
    ] = "sdpa"
    quantization: Annotated[
        Literal["int8", "int4"] | None, Field(description="Quantise weights with bitsandbytes on loading; needs a GPU.")
    ] = None
    adapters: Annotated[
        list[str],
        Field(default_factory=list, description="Directories of LoRA adapters, merged into the weights in this order."),
    ]
    trust_remote_code: Annotated[bool, Field(description="Run Python code that comes with the model.")] = False
    num_threads: Annotated[int | None, Field(ge=1, description="CPU threads; default: PyTorch's choice.")] = None
    context_length: Annotated[int | None, Field(ge=1, description="Instead of what the model's files say.")] = None
    tokenizer: Annotated[
        str | None, Field(min_length=1, description="A tokenizer.json instead of the model's own tokenizer.")
    ] = None
    paged: Annotated[
        bool | None,
        Field(
            description="Text: one paged KV cache and one running batch for all requests, or a cache for each and no "
            "batch; default: paged where the model allows it."
        ),
    ] = None
    cache_size_gb: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Text: the paged KV cache in GiB.")
    ] = 2
    enable_prefix_caching: Annotated[bool, Field(description="Text: reuse the paged KV cache of equal beginnings.")] = (
        True
    )
    max_num_batched_tokens: Annotated[
        int, Field(ge=16, description="Text: most tokens in one step; longer prompts are prefilled in parts.")
    ] = 256
    max_num_seqs: Annotated[
        int, Field(ge=1, description="Text: most sequences in work at the same time; the others wait.")
    ] = 64
    batch_tokens: Annotated[
        int, Field(ge=1, description="Embeddings: most tokens, padding counted, in one batch. One input may be longer.")
    ] = 2048

    @property
    def number_format(self) -> str:
        """The dtype that is asked for, by itself or by `precision`."""
        return self.dtype or ("float32" if self.precision == "exact" else "auto")
