"""The contract: swagger.yaml, what it departs from, and the tools that read and compare it."""
