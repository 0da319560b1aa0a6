"""Models that another server runs: any that speaks the API, such as OpenAI, vLLM, llama-server, Ollama or specserve.

`backend.py` takes requests, `relay.py` sends them, `pool.py` chooses among several addresses of one model. What comes
back is read by `stream.py` and `answer.py`, which mend what can be mended (`repairs.py` lists it) and refuse the rest;
bytes that need no mending go to the client as they came.
"""

from specserve.backends.sources import Sources

SOURCES = Sources(schemes=frozenset({"http", "https"}))
