"""The server as a process: start, listening, reload, stop."""
