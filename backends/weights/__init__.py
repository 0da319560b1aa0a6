"""Weights that are fetched: the embedded default models, the cache, progress."""
