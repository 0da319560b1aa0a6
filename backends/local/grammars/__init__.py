"""Grammars: JSON Schema and regular expressions as EBNF, and what a grammar costs."""
