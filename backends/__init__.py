"""Backends: what turns a validated request into tokens or vectors. `base.py` is the contract."""
