"""JSON Schemas of hypothesis's invention, sensible ones and others."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def schemas() -> st.SearchStrategy[Any]:
    return st.recursive(_scalars(), _containers, max_leaves=8)


def _scalars() -> st.SearchStrategy[Any]:
    small = st.integers(-200, 200)
    return st.one_of(
        st.sampled_from([True, False, {}, {"type": "boolean"}, {"type": "null"}]),
        st.fixed_dictionaries(
            {"type": st.just("string")}, optional={"minLength": st.integers(0, 9), "maxLength": st.integers(0, 60)}
        ),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
            optional={
                "minimum": small | st.decimals(-50, 50, places=3).map(float),
                "maximum": small,
                "exclusiveMinimum": small,
                "exclusiveMaximum": small,
                "multipleOf": st.sampled_from([2, 3, 10, 0.5]),
            },
        ),
        st.fixed_dictionaries({"enum": st.lists(st.none() | st.integers() | st.text(max_size=5), min_size=1)}),
    )  # fmt: skip


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text("abé\" \\", max_size=3)  # fmt: skip
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(names, inner, max_size=4)},
            optional={"required": st.lists(names, max_size=2), "additionalProperties": inner},
        ),
        st.fixed_dictionaries(
            {"type": st.just("array")},
            optional={
                "items": inner,
                "minItems": st.integers(0, 5),
                "maxItems": st.integers(0, 40),
                "prefixItems": st.lists(inner, min_size=1, max_size=3),
            },
        ),
        st.dictionaries(
            st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1, max_size=3), max_size=1
        ),
    )  # fmt: skip
