"""The engine of the default model without a server: OpenVINO GenAI in this process, with the options of ours.

Reads lines of JSON, ``{"prompts": [[token id, ...], ...], "tokens": n}``, and answers each with a line
``{"seconds", "tokens"}``. The first line that it writes, ``{}``, says that the model is open.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from specserve.backends.openvino import telemetry

telemetry.block()

import numpy as np  # noqa: E402  telemetry comes first
import openvino as ov  # noqa: E402
import openvino_genai as genai  # noqa: E402

from specserve.backends.local.tokens.vocabulary import described  # noqa: E402
from specserve.backends.openvino.model_files import converted_dir, read_files  # noqa: E402
from specserve.backends.openvino.options import TextOptions  # noqa: E402
from specserve.backends.openvino.precision import compute_hint  # noqa: E402
from specserve.backends.openvino.vocabulary import engine_tokenizer  # noqa: E402
from specserve.backends.options import parse_options  # noqa: E402


def opened(weights: Path, options: TextOptions) -> genai.ContinuousBatchingPipeline:
    """The pipeline, over the conversion of these weights that our server has left."""
    scheduler = genai.SchedulerConfig()
    for name, value in options.scheduler().items():
        setattr(scheduler, name, value)
    folder = converted_dir(weights, version("openvino"), whole_zeros=options.whole_zeros)
    tokenizer, _ = engine_tokenizer(described(read_files(weights, options).tokenizer), folder / "openvino_model.xml")
    compute = options.compute_format()
    hint, _ = compute_hint(options.device, str(compute["format"]), required=bool(compute["required"]))
    properties = options.properties() | hint
    return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, options.device, **properties)


def generate(pipeline: genai.ContinuousBatchingPipeline, prompts: list[list[int]], tokens: int) -> dict[str, float]:
    """Generate so many tokens for each prompt, greedily, all at once."""
    config = genai.GenerationConfig(max_new_tokens=tokens, min_new_tokens=tokens, ignore_eos=True, do_sample=False)
    config.set_eos_token_id(0)  # it insists on one
    begun = time.perf_counter()
    handles = [
        pipeline.add_request(number, ov.Tensor(np.array([prompt], dtype=np.int64)), config)
        for number, prompt in enumerate(prompts)
    ]
    produced = 0
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for handle in handles:
            while handle.can_read():
                produced += sum(len(output.generated_ids) for output in handle.read().values())
    return {"seconds": time.perf_counter() - begun, "tokens": produced}


def main() -> None:
    """Open, then answer until the input ends."""
    weights, options = sys.argv[1:]
    pipeline = opened(Path(weights), parse_options(TextOptions, json.loads(options)))
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(generate(pipeline, asked["prompts"], asked["tokens"])), flush=True)


if __name__ == "__main__":
    main()
