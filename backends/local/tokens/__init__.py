"""Text to token ids and back, and the files that say how."""
