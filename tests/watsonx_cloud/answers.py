"""The stand-in's answers in IBM's forms: of each path, whole or as the payloads of its events."""

from __future__ import annotations

import secrets
import time

from watsonx_cloud import model

_CHAT_REASONS = {"eos_token": "stop", "max_tokens": "length", "stop_sequence": "stop"}


def _chat_head(body):
    return {
        "id": f"chatcmpl-{secrets.token_hex(16)}",
        "model_id": body["model_id"],
        "model": body["model_id"],
        "model_version": "4.0.0",
        "created": int(time.time()),
        "created_at": "2026-01-02T03:04:05.678Z",
    }


def _chat_usage(said, n):
    generated = n * (len(said.tokens) + 8 * len(said.calls)) or 1
    return {
        "completion_tokens": generated,
        "prompt_tokens": said.prompt_tokens,
        "total_tokens": generated + said.prompt_tokens,
    }


def _scored(body, token):
    logprob, top = model.scores(token, body.get("top_logprobs", 0))
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode()),
        "top_logprobs": [{"token": text, "logprob": p, "bytes": list(text.encode())} for text, p in top],
    }


def _calls(said):
    return [
        {"index": at, "id": f"chatcmpl-tool-{secrets.token_hex(8)}", "type": "function",
         "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(said.calls)
    ]  # fmt: skip


def _chat_reason(body, said):
    # Some of IBM's models end a required call with `stop`.
    if said.calls:
        return "stop" if body.get("tool_choice_option") == "required" else "tool_calls"
    return _CHAT_REASONS[said.reason]


def chat(body):
    said = model.converse(body)
    n = body.get("n", 1)
    choices = []
    for index in range(n):
        message = {"role": "assistant", **({"content": said.text} if not said.calls else {"tool_calls": _calls(said)})}
        if said.thought:
            message["reasoning_content"] = said.thought
        choice = {"index": index, "message": message, "finish_reason": _chat_reason(body, said)}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [_scored(body, token) for token in said.tokens]}
        choices.append(choice)
    return {**_chat_head(body), "choices": choices, "usage": _chat_usage(said, n)}


def chat_stream(body):
    said = model.converse(body)
    head = {**_chat_head(body), "object": "chat.completion.chunk"}
    n = body.get("n", 1)
    payloads = []

    def add(index, delta, reason=None, **more):
        choice = {"index": index, "finish_reason": reason, "delta": delta, **more}
        payloads.append({**head, "choices": [choice]})

    for index in range(n):
        add(index, {"role": "assistant", "content": ""})
        if said.thought:
            add(index, {"reasoning_content": said.thought})
        for token in said.tokens:
            scored = {"logprobs": {"content": [_scored(body, token)]}} if body.get("logprobs") else {}
            add(index, {"content": token}, **scored)
        for call in _calls(said):
            arguments = call["function"]["arguments"]
            half = len(arguments) // 2
            add(index, {"tool_calls": [{**call, "function": {"name": call["function"]["name"], "arguments": ""}}]})
            for part in (arguments[:half], arguments[half:]):
                add(index, {"tool_calls": [{"index": call["index"], "function": {"name": "", "arguments": part}}]})
        add(index, {"content": ""}, _chat_reason(body, said))
    return [*payloads, {**head, "choices": [], "usage": _chat_usage(said, n)}]


def _generated(body, said, tokens, count):
    options = body.get("parameters", {}).get("return_options", {})
    result = {"generated_text": "".join(tokens), "generated_token_count": count, "input_token_count": 0}
    if options.get("generated_tokens"):
        result["generated_tokens"] = [_token_info(token, options) for token in tokens]
    return result


def _token_info(token, options):
    logprob, top = model.scores(token, options.get("top_n_tokens", 0))
    info = {"text": token.replace(" ", "▁"), "logprob": logprob}
    if top:
        info["top_tokens"] = [{"text": text.replace(" ", "▁"), "logprob": p} for text, p in top]
    return info


def _generation_head(body):
    return {"model_id": body["model_id"], "model_version": "1.1.0", "created_at": "2026-01-02T03:04:05.678Z"}


def _input(body, said, result):
    options = body.get("parameters", {}).get("return_options", {})
    result["input_token_count"] = said.prompt_tokens
    if options.get("input_tokens"):
        result["input_tokens"] = [_token_info(token, options) for token in model.tokens(body["input"])]


def generation(body):
    said = model.continue_text(body)
    result = _generated(body, said, said.tokens, len(said.tokens)) | {"stop_reason": said.reason}
    _input(body, said, result)
    return {**_generation_head(body), "results": [result]}


def generation_stream(body):
    said = model.continue_text(body)
    first = _generated(body, said, [], 0) | {"stop_reason": "not_finished"}
    _input(body, said, first)
    results = [first]
    for at, token in enumerate(said.tokens):
        reason = said.reason if at == len(said.tokens) - 1 else "not_finished"
        results.append(_generated(body, said, [token], at + 1) | {"stop_reason": reason.upper()})
    if not said.tokens:
        first["stop_reason"] = said.reason
    return [{**_generation_head(body), "results": [result]} for result in results]


def embeddings(body):
    size = 48
    return {
        "model_id": body["model_id"],
        "created_at": "2026-01-02T03:04:05.678Z",
        "results": [{"embedding": model.vector(text, size)} for text in body["inputs"]],
        "input_token_count": sum(len(text.split()) + 2 for text in body["inputs"]),
    }


ANSWERS = {
    "chat": chat,
    "chat_stream": chat_stream,
    "generation": generation,
    "generation_stream": generation_stream,
    "embeddings": embeddings,
}
