"""What local engines share: chat template, detokeniser, stop strings, chunks. `engine.py` is what an engine gives."""
