"""A tiny Llama with random weights, as transformers writes models: `tiny.py FOLDER`, in the converter's environment.

`tiny.py FOLDER TOKENS COUNT [ADAPTER]` prints what transformers makes of these tokens, greedily.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

A, B = ".lora_A.weight", ".lora_B.weight"
CONTROL = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make(folder):
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(CONTROL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(CONTROL)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    saved.chat_template = TEMPLATE
    saved.save_pretrained(folder)


def answer(folder, tokens, count, adapter=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        merge(model, adapter)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([tokens])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
    return made[0, len(tokens) :].tolist()


def merge(model, folder):
    """What an adapter means: its matrices, multiplied and scaled, are added to the weights."""
    about = json.loads((folder / "adapter_config.json").read_text())
    matrices = load_file(folder / "adapter_model.safetensors")
    weights = dict(model.named_parameters())
    for name, a in matrices.items():
        if name.endswith(A):
            added = about["lora_alpha"] / about["r"] * matrices[name.removesuffix(A) + B] @ a
            with torch.no_grad():
                weights[name.removesuffix(A).removeprefix("base_model.model.") + ".weight"] += added


if __name__ == "__main__":
    if len(sys.argv) == 2:
        make(Path(sys.argv[1]))
    else:
        folder, tokens, count, *adapter = sys.argv[1:]
        made = answer(folder, json.loads(tokens), int(count), *map(Path, adapter))
        sys.stdout.write(json.dumps(made))
