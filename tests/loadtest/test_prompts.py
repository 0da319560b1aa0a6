"""The requests of a run."""

import json

import pytest

from specserve.generated.models import CreateChatCompletionRequest
from specserve.loadtest.distributions import Distribution
from specserve.loadtest.prompts import BadDataset, Prompts, TokensOfWords, read_dataset


def prompts(**changes):
    said = {"prompt": Distribution("fixed", 200), "output": Distribution("fixed", 16), "seed": 1, "salt": "salt"}
    return Prompts("m", **{**said, **changes})


def text(request):
    return json.loads(request.body)["messages"][0]["content"]


def test_a_request_is_one_of_the_contract():
    body = json.loads(prompts().make(0, 0).body)
    CreateChatCompletionRequest.model_validate(body)
    assert set(body) == {"model", "messages", "stream", "stream_options", "max_tokens"}


def test_the_same_number_gives_the_same_request_and_another_another():
    assert prompts().make(0, 3) == prompts().make(0, 3)
    assert prompts().make(0, 3) != prompts().make(0, 4)
    assert prompts().make(0, 3) != prompts().make(1, 3)
    assert prompts().make(0, 3) != prompts(salt="other").make(0, 3)


def test_prompts_share_no_beginning_unless_asked_to():
    scale = TokensOfWords(base=10, per_word=1.0, measured=True)
    beginnings = {text(prompts(scale=scale).make(0, number)).split()[0] for number in range(50)}
    assert len(beginnings) == 50
    shared = [text(prompts(scale=scale, shared_prefix=40).make(0, number)).split() for number in range(3)]
    assert shared[0][:40] == shared[1][:40] == shared[2][:40]
    assert shared[0][40] != shared[1][40]


def test_words_are_counted_as_the_server_counts_tokens():
    scale = TokensOfWords.fit((16, 54), (64, 150))
    assert scale == TokensOfWords(22.0, 2.0, measured=True)
    assert scale.words(200) == 89
    assert scale.tokens(89) == 200
    request = prompts(scale=scale).make(0, 0)
    assert request.prompt_tokens == 200
    # The nonce is counted in the base, as the two probes had one.
    made, probe = (len(text(one).split()) for one in (request, prompts(scale=scale).probe(89)))
    assert made == probe


def test_a_server_that_counts_nonsense_leaves_the_guess():
    assert not TokensOfWords.fit((16, 50), (64, 50)).measured


def test_fields_are_added_as_they_are():
    body = json.loads(
        prompts(extra={"ignore_eos": True}, limit_field="max_completion_tokens", usage=False).make(0, 0).body
    )
    assert body["ignore_eos"] is True
    assert body["max_completion_tokens"] == 16
    assert "stream_options" not in body


def test_rows_of_a_file_are_sent_in_order(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"prompt": "one two"}\n\n'
        '{"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "x"}], "output_tokens": 5}\n'
    )
    made = prompts(rows=read_dataset(file))
    bodies = [json.loads(made.make(0, number).body) for number in range(3)]
    assert [body["messages"][-1]["content"] for body in bodies] == ["one two", "x", "one two"]
    assert [body["max_tokens"] for body in bodies] == [16, 5, 16]
    assert bodies[1]["messages"][0]["role"] == "system"


@pytest.mark.parametrize(
    "content",
    ["", "no json", "[]", "{}", '{"prompt": 5}', '{"messages": []}', '{"messages": [{"role": "nobody"}]}',
     '{"prompt": "x", "output_tokens": "many"}', '{"prompt": "x", "output_tokens": 0}'],
)  # fmt: skip
def test_a_file_that_holds_no_requests_is_refused_with_its_line(tmp_path, content):
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "good"}}\n{content}\n' if content else "")
    with pytest.raises(BadDataset, match="line 2" if content else "no rows"):
        read_dataset(file)
