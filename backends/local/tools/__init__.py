"""Tool calls: in prompts, in grammars and in what a model writes."""
