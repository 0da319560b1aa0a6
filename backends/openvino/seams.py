"""What is relied on of OpenVINO and OpenVINO GenAI beyond their documentation; nothing else may be.

Each has a test in tests/backends/test_openvino_seams.py, which says what broke when another version does otherwise.
Used in the engine's process only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino as ov
    import openvino_genai

MODEL = "openvino_model.xml"
DETOKENIZER = "openvino_detokenizer.xml"
LOGITS = "logits"
"""Name of the output of a language model."""

INPUTS = ("input_ids", "attention_mask", "position_ids", "beam_idx")
"""Names of the inputs of a language model with state; a model may lack some."""

_VOCABULARY_NODE = "VocabDecoder"
_NO_DEVICE = "NONE"


def name_vocabulary(node: ov.Node) -> None:
    """Name the node of a detokenizer behind whose inputs the engine looks for the bytes of its tokens.

    The inputs from the second on must be constants: where each token begins, where it ends, and all bytes.
    """
    node.set_friendly_name(_VOCABULARY_NODE)


def save_gguf(gguf: Path, tokenizer: openvino_genai.Tokenizer) -> None:
    """Let the engine read a GGUF file and save what it made of it beside the file, as `MODEL` and its weights.

    It has nothing that does only that: it saves while it opens. So it is told to open the model on a device that does
    not exist, which it finds out when all is saved.

    Raises:
        RuntimeError: The engine cannot read the file.
    """
    import openvino_genai

    try:
        openvino_genai.ContinuousBatchingPipeline(
            gguf, tokenizer, openvino_genai.SchedulerConfig(), _NO_DEVICE, enable_save_ov_model=True
        )
    except RuntimeError:
        if not (gguf.parent / MODEL).exists():
            raise


def logits_of(model: ov.Model) -> Any:
    """The node whose output are the logits of a language model with one output."""
    return model.outputs[0].get_node().input_value(0)


def states_of(model: ov.Model) -> list[Any]:
    """The nodes that read the KV cache of a model with state."""
    return [node for node in model.get_ops() if node.get_type_name() == "ReadValue"]
