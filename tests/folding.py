"""The fold of a stream, as a client does it: written from the API's description, without a look at ours."""

import json


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]", response.text
    return [json.loads(line) for line in lines[:-1]]


def fold(chunks):
    """The answer that the chunks are the parts of."""
    choices, usage = {}, None
    for chunk in chunks:
        usage = chunk["usage"] or usage
        for part in chunk["choices"]:
            chat = "delta" in part
            choice = choices.setdefault(
                part["index"], {"index": part["index"], "finish_reason": None, "logprobs": None}
            )
            if chat:
                message = choice.setdefault("message", {"role": None, "content": "", "refusal": None})
                message["role"] = part["delta"].get("role") or message["role"]
                message["content"] += part["delta"].get("content") or ""
            else:
                choice["text"] = choice.get("text", "") + part["text"]
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
            if part["logprobs"]:
                choice["logprobs"] = _joined(choice["logprobs"], part["logprobs"])
    kind = chunks[0]["object"].removesuffix(".chunk")
    return chunks[0] | {"object": kind, "choices": [choices[index] for index in sorted(choices)], "usage": usage}


def _joined(first, second):
    if first is None:
        return second
    return {name: first[name] and first[name] + part if part else first[name] for name, part in second.items()}
