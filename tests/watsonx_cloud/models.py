"""The models that the stand-in offers, as IBM lists them."""

CHAT = "ibm/granite-4-h-small"
VISION = "meta-llama/llama-4-maverick-17b-128e-instruct-fp8"
LANGUAGE = "google/flan-t5-xl"
EMBED = "ibm/slate-125m-english-rtrvr-v2"
RERANK = "cross-encoder/ms-marco-minilm-l-12-v2"
WITHDRAWN = "ibm/granite-13b-chat-v2"
RETIRED = "ibm/granite-20b-multilingual"


def _entry(model_id, functions, *, tasks=(), provider="IBM", lifecycle=(), **limits):
    return {
        "model_id": model_id,
        "label": model_id.rpartition("/")[2],
        "provider": provider,
        "source": provider,
        "functions": [{"id": name} for name in functions],
        "short_description": "A model.",
        "input_tier": "class_1",
        "output_tier": "class_1",
        "number_params": "8b",
        "task_ids": list(tasks),
        "tasks": [{"id": name} for name in tasks],
        **({"model_limits": limits} if limits else {}),
        "lifecycle": [{"id": "available", "start_date": "2024-04-11"}, *lifecycle],
    }


SPECS = [
    _entry(
        CHAT,
        ["autoai_rag", "text_chat", "text_generation"],
        tasks=["function_calling", "generation", "summarization"],
        max_sequence_length=4096,
        max_output_tokens=512,
    ),
    _entry(
        VISION,
        ["image_chat", "text_chat"],
        tasks=["generation"],
        provider="Meta",
        lifecycle=[
            {"id": "deprecated", "start_date": "2025-06-18", "current_state": True},
            {"id": "withdrawn", "start_date": "2999-12-31"},
        ],
        max_sequence_length=4096,
        max_output_tokens=512,
    ),
    _entry(RERANK, ["rerank"], provider="cross-encoder"),
    _entry(LANGUAGE, ["text_generation"], provider="Google", max_sequence_length=4096, max_output_tokens=4095),
    _entry(WITHDRAWN, ["text_chat"], lifecycle=[{"id": "withdrawn", "start_date": "2025-10-15"}]),
    _entry(RETIRED, ["text_chat"], lifecycle=[{"id": "withdrawn", "current_state": True}]),
    _entry(EMBED, ["embedding", "similarity"], max_sequence_length=512, embedding_dimension=48),
]
BY_ID = {entry["model_id"]: entry for entry in SPECS}
