"""What is wrong with a setting, in words for the operator."""

from __future__ import annotations

from pydantic import ValidationError


def first_problem(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Where the first problem is and what it is, without the value that was given."""
    problem = error.errors(include_url=False, include_input=False)[0]
    where = problem["loc"]
    cause = problem["ctx"]["error"] if problem["type"] == "value_error" else None
    if isinstance(cause, ValidationError):  # of a model that was read by a validator
        inner, why = first_problem(cause)
        return (*where, *inner), why
    why = str(cause) if cause is not None else problem["msg"]
    if problem["type"] == "extra_forbidden":
        why = "unknown setting"
    return where, why[:1].lower() + why[1:].replace("valid tuple", "list")
