"""Handlers: one file per resource, one function per operation of the spec."""
