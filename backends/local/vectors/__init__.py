"""Embeddings: batches of inputs, and vectors as the contract has them."""
