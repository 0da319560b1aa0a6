"""Logs: what the server reports about itself."""
