"""A conversation as the text that a model reads, and the thoughts in what it writes."""
