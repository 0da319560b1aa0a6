"""smolagents: its model class alone, in a stream, and under an agent that must end by a call."""

from each import CHAT, QUESTION, URL, each
from smolagents import OpenAIModel, ToolCallingAgent

model = OpenAIModel(model_id=CHAT, api_base=URL, api_key="unused", temperature=0, max_tokens=60)
ASK = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]


def text():
    answer = model.generate(ASK)
    assert answer.content and answer.token_usage.output_tokens
    return answer.content


def stream():
    said = "".join(piece.content or "" for piece in model.generate_stream(ASK))
    assert said
    return said


def an_agent_calls():
    agent = ToolCallingAgent(tools=[], model=model, max_steps=1, verbosity_level=0)
    agent.run("Say that the answer is 4.")
    [step] = [step for step in agent.memory.steps if type(step).__name__ == "ActionStep"]
    assert step.tool_calls, step.error
    return step.tool_calls[0].name


each(text, stream, an_agent_calls)
