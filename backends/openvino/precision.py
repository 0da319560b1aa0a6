"""Sees to it that a device computes with the numbers that were asked for, and says with which it does.

Unless it is told otherwise, OpenVINO computes in 16-bit floats where a processor has instructions for them (bf16 with
AMX or AVX-512, f16 on GPUs). Greedy answers are then not repeatable: a sum depends on how the work was cut into parts.
Used in the engine's process only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specserve.backends.base import NumberFormat

_HINT = "INFERENCE_PRECISION_HINT"
_NAMES: dict[NumberFormat, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
DEVICE = "device"
"""The format that leaves it to the device."""


def compute_hint(device: str, wanted: str, *, required: bool = False) -> tuple[dict[str, str], NumberFormat | None]:
    """The property that makes a device compute in a format, and the format in which it then computes.

    Args:
        device: As OpenVINO names it.
        wanted: ``f32``, ``bf16``, ``f16``, or `DEVICE`.
        required: Whether to refuse if the device does not have it, instead of leaving it to the device.

    Returns:
        Properties to compile with; the format, or None if the device does not tell.

    Raises:
        ValueError: It is required, and the device does not have it.
    """
    chosen = next((name for name in _NAMES if name == wanted), None)
    if chosen is not None:
        known = _capabilities(device)
        if not known or _NAMES[chosen] in known:
            return {_HINT: chosen}, chosen
        if required:
            found = ", ".join(name for name, capability in _NAMES.items() if capability in known)
            raise ValueError(f"the device {device!r} does not compute in {chosen}; it has {found or 'none of them'}")
    return {}, _own_choice(device)


def _capabilities(device: str) -> list[str]:
    """What a device says that it can; nothing for devices that stand for several, such as AUTO."""
    return list(_property(device, "OPTIMIZATION_CAPABILITIES") or [])


def _own_choice(device: str) -> NumberFormat | None:
    kind = _property(device, _HINT)
    return None if kind is None else next((name for name in _NAMES if name == kind.get_type_name()), None)


def _property(device: str, name: str) -> Any:
    import openvino as ov

    try:
        return ov.Core().get_property(device, name)
    except RuntimeError:  # the device does not know the property; that it does not exist is told when it is opened
        return None
