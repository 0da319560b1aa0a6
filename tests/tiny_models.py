"""Tiny models with random weights and a tokenizer of their own, written as transformers writes models."""

import json

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXT = "the quick brown fox jumps over the lazy dog and then it sleeps "
CONTROL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "[CLS]", "[SEP]", "[PAD]"]
TEMPLATE = (
    "{% for message in messages %}<|{{ 'assistant' if message.role == 'assistant' else 'user' }}|>"
    "{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LENGTH = 2048
torch.set_num_threads(1)  # beside an engine, threads that wait for one another take longer than one
SPARE = 13  # rows of the models' tables beyond the last token, as many models have them


def make(folder):
    torch.manual_seed(0)
    trained = tokenizer("<s> $A")
    size = trained.get_vocab_size() + SPARE
    sizes = {"vocab_size": size, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": LENGTH}
    llama = transformers.LlamaConfig(
        **sizes, **ends, intermediate_size=96, num_key_value_heads=2, initializer_range=0.3
    )
    save(transformers.LlamaForCausalLM(llama), folder / "llama", trained, TEMPLATE)
    opt = transformers.OPTConfig(**sizes, **ends, ffn_dim=96, word_embed_proj_dim=64, init_std=0.3)
    save(transformers.OPTForCausalLM(opt), folder / "opt", trained)
    mistral = transformers.MistralConfig(
        **sizes, **ends, intermediate_size=96, num_key_value_heads=2, initializer_range=0.3, sliding_window=24
    )
    save(transformers.MistralForCausalLM(mistral), folder / "sliding", trained)
    bert = transformers.BertConfig(**sizes, intermediate_size=96, max_position_embeddings=64, pad_token_id=6)
    encoder = transformers.BertModel(bert)
    for pooling in ("mean", "cls"):
        save(encoder, folder / f"bert-{pooling}", tokenizer("[CLS] $A [SEP]"))
        sentence(folder / f"bert-{pooling}", pooling)
    save(encoder, folder / "bert-plain", tokenizer("[CLS] $A [SEP]"))
    return folder


def tokenizer(shape):
    """A small byte-level tokenizer; `shape` says what is put around a text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT * 3], trainer)
    special = [(token, made.token_to_id(token)) for token in CONTROL if token in shape]
    made.post_processor = processors.TemplateProcessing(single=shape, special_tokens=special)
    return made


def save(model, folder, trained, template=None):
    model.save_pretrained(folder)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    made.save_pretrained(folder)


def sentence(folder, pooling):
    """What sentence-transformers writes beside a model."""
    steps = (("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize"))
    described = [
        {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for name, path, kind in steps
    ]
    (folder / "modules.json").write_text(json.dumps(described))
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64, **modes}))


def causal(path, **options):
    """A model as transformers opens it, to compare with."""
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).eval()


def generated(model, prompt, count, spare=None, **options):
    """What `model.generate` answers, greedily, of the tokens that the tokenizer has; its end of sequence included."""
    ids = torch.tensor([prompt])
    spare = SPARE if spare is None else spare
    if spare:
        options["suppress_tokens"] = list(range(model.config.vocab_size - spare, model.config.vocab_size))
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, pad_token_id=0, **options
    )
    return made[0, len(prompt) :].tolist()


@torch.inference_mode()
def logprobs(model, ids):
    """Log-probabilities of all tokens at each place: [length, vocabulary]."""
    return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
