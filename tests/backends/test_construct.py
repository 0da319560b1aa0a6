"""`construct` must be `model_construct`, only quicker."""

from __future__ import annotations

import pickle

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from specserve.backends.construct import construct, encode
from specserve.generated import models

KINDS = [
    kind
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == models.__name__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_generated_model_is_made_alike(kind):
    # In another order than the fields have: the JSON goes by the fields.
    values = {name: name for name, field in reversed(kind.model_fields.items()) if field.is_required()}
    ours, theirs = construct(kind, **values), kind.model_construct(**values)
    assert ours == theirs
    assert ours.model_fields_set == theirs.model_fields_set
    assert list(ours.__dict__) == list(theirs.__dict__)
    assert [getattr(ours, name) for name in kind.model_fields] == [getattr(theirs, name) for name in kind.model_fields]


def test_a_model_that_was_made_so_can_be_used_as_any_other():
    ours = construct(models.CompletionUsage, prompt_tokens=1, completion_tokens=2, total_tokens=3)
    copy = ours.model_copy(update={"total_tokens": 4})
    assert (ours.total_tokens, copy.total_tokens) == (3, 4)
    assert models.CompletionUsage.model_validate(ours.model_dump(exclude_unset=True)) == ours
    assert pickle.loads(pickle.dumps(ours)) == ours
    ours.prompt_tokens_details = None
    assert "prompt_tokens_details" in ours.model_fields_set
    assert ours.model_extra is None


def test_the_json_is_the_same():
    usage = {"total_tokens": 3, "prompt_tokens": 1, "completion_tokens": 2}
    ours = construct(models.CompletionUsage, **usage)
    assert ours.model_dump_json(exclude_unset=True) == models.CompletionUsage.model_construct(**usage).model_dump_json(
        exclude_unset=True
    )
    ours.prompt_tokens_details = None
    assert '"prompt_tokens_details":null' in ours.model_dump_json(exclude_unset=True)


def test_a_whole_answer_is_encoded_as_pydantic_does():
    message = construct(models.ChatCompletionResponseMessage, role="assistant", content='é "\n\x01🎉', refusal=None)
    choice = construct(models.ChatCompletionChoice, index=0, message=message, logprobs=None, finish_reason="stop")
    usage = construct(models.CompletionUsage, prompt_tokens=1, completion_tokens=2, total_tokens=3)
    answer = construct(
        models.CreateChatCompletionResponse, id="x", object="chat.completion", created=1, model="m", choices=[choice]
    )
    answer.usage = usage
    assert encode(answer).decode() == answer.model_dump_json(exclude_unset=True)


def test_what_json_does_not_have_is_not_encoded():
    with pytest.raises(TypeError, match="object"):
        encode(construct(models.CompletionUsage, prompt_tokens=object()))


class Extended(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


@pytest.mark.parametrize("model", [Extended(known=1, more={"a": [None, 1.5]}), RootModel[list[int]]([1, 2])])
def test_other_models_are_encoded_as_pydantic_does(model):
    assert encode(model).decode() == model.model_dump_json(exclude_unset=True)


class Aliased(BaseModel):
    inner: int = Field(alias="outer")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Fresh(BaseModel):
    items: list[int] = Field(default_factory=list)


class Copied(BaseModel):
    items: list[int] = []


@pytest.mark.parametrize(("kind", "values"), [(Aliased, {"outer": 1}), (Open, {"more": 1}), (Fresh, {}), (Copied, {})])
def test_what_takes_more_is_left_to_pydantic(kind, values):
    assert construct(kind, **values) == kind.model_construct(**values)


@pytest.mark.parametrize("kind", [Fresh, Copied])
def test_two_do_not_share_a_value_that_can_change(kind):
    one, other = construct(kind), construct(kind)
    one.items.append(1)
    assert other.items == []
