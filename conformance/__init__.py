"""The conformance kit: judges any server that claims to speak the OpenAI API, over HTTP, against the contract."""
