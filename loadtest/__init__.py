"""The load test: any server that speaks the OpenAI API, under load. It talks HTTP and never imports the server."""
