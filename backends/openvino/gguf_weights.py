"""Gives the conversion of a GGUF file the weights that the file has.

Formats such as Q4_1 and Q4_K write a weight as ``scale * level + offset``, scale and offset for a group of 32. The
engine's reader makes ``scale * (level - zero)`` of it and rounds `zero` to a whole number. That moves a group by up to
half a step: of the embedded default model it changes the likeliest next token in three places of ten. So what was
converted is compared with the file, tensor by tensor, and put right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.local.tokens.gguf import Tensor, read_tensors

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_SAME = 0.1  # of a step: nearer is as good as the same, with scales of 16 bits
_HIGHEST = 255


def restore(model: ov.Model, gguf: Path, *, whole_zeros: bool) -> None:
    """Put right, in place, each table of weights that is not what the file has. One that it lacks stays as it is.

    Args:
        model: What the engine's reader made of the file.
        gguf: The file.
        whole_zeros: Write the weights anew with 8 bits, whole zero points among them, instead of the file's 4 bits with
            zero points that are not whole. What rounds activations needs that.

    Raises:
        BackendLoadError: The file is damaged.
    """
    file = _File(gguf)
    for table in _tables(model):
        weights = file.find(table)
        if weights is None or table.says(weights):
            continue
        if whole_zeros:
            table.rewrite(weights)
        else:
            table.shift(weights)
    model.validate_nodes_and_infer_types()


class _Table:
    """Weights as the reader made them: ``scale * (level - zero)``, in groups along the last axis.

    Attributes:
        shape: Rows, groups in a row, weights in a group.
    """

    def __init__(self, subtract: ov.Node, multiply: ov.Node) -> None:
        self._subtract = subtract
        self._multiply = multiply
        self._levels = _values(subtract.input_value(0).get_node().input_value(0).get_node())
        self._zeros = _values(subtract.input_value(1).get_node().input_value(0).get_node())
        self._scales = _values(multiply.input_value(1).get_node()).astype("float32")
        self._steps = self._scales + (self._scales == 0)
        rows, groups, length = self._levels.shape
        self.shape = (rows, groups, length)

    def is_of(self, weights: Floats, rows: list[int] | slice = slice(None)) -> bool:
        """Whether the reader can have made these rows from these weights: only zero points differ."""
        off = weights / self._steps[rows] - self._levels[rows]
        return bool(abs(off - off.mean(axis=-1, keepdims=True)).max() <= _SAME)

    def says(self, weights: Floats) -> bool:
        """Whether the table has these weights already."""
        said = (self._levels.astype("float32") - self._zeros) * self._scales
        return bool((abs(weights - said) <= _SAME * abs(self._scales)).all())

    def shift(self, weights: Floats) -> None:
        """Give every group the zero point that makes its weights these."""
        import numpy as np

        # Scale 0 is a group of one value and cannot say which: the value becomes the scale, one step from zero.
        flat = self._scales == 0
        steps = np.where(flat & (weights[..., :1] != 0), weights[..., :1], self._steps)
        zeros = (self._levels - weights / steps).mean(axis=-1, keepdims=True)
        self._subtract.input(1).replace_source_output(_half(zeros))
        if flat.any():
            self._multiply.input(1).replace_source_output(_half(steps))

    def rewrite(self, weights: Floats) -> None:
        """Write these weights with 8 bits and whole zero points."""
        from openvino import opset13 as ops

        lowest = weights.min(axis=-1, keepdims=True).clip(max=0)
        highest = weights.max(axis=-1, keepdims=True).clip(min=0)
        scales = ((highest - lowest) / _HIGHEST).astype("float16")
        steps = scales.astype("float32") + (scales == 0)
        zeros = (-lowest / steps).round().clip(0, _HIGHEST)
        levels = ((weights / steps).round() + zeros).clip(0, _HIGHEST)
        for port, whole in enumerate((levels, zeros)):
            converted = ops.convert(ops.constant(whole.astype("uint8")), "f16")
            self._subtract.input(port).replace_source_output(converted.output(0))
        self._multiply.input(1).replace_source_output(_half(scales))


class _File:
    """The tensors of a GGUF file that are tables of rounded weights."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self._metadata, tensors = read_tensors(path)
        self._tensors = {name: tensor for name, tensor in tensors.items() if len(tensor.shape) == 2}
        self._bytes = np.memmap(path, dtype="uint8", mode="r")

    def find(self, table: _Table) -> Floats | None:
        """The weights that a table was made from, in the table's order, or None if none of the file's are like it."""
        count, groups, length = table.shape
        sample = sorted({0, count // 2, count - 1})
        for name, tensor in list(self._tensors.items()):
            if tensor.shape != (count, groups * length):
                continue
            for order in self._orders(name, count):
                if not table.is_of(self._rows(tensor, order[sample]).reshape(-1, groups, length), sample):
                    continue
                weights = self._rows(tensor, order).reshape(table.shape)
                if table.is_of(weights):
                    self._tensors[name] = self._tensors.pop(name)  # tables come in about the file's order: to the end
                    return weights
        return None

    def _orders(self, name: str, count: int) -> Iterator[NDArray[np.intp]]:
        """Which of the file's rows may be which row of the table.

        Queries and keys of a llama are kept with the halves of each head interleaved, for the rotation of positions as
        llama.cpp does it; the reader puts them asunder.
        """
        import numpy as np

        rows = np.arange(count)
        yield rows
        key = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(name.split(".")[-2] if "." in name else "")
        family = self._metadata.get("general.architecture")
        heads = self._metadata.get(f"{family}.attention.{key}")
        if isinstance(heads, int) and heads > 0 and count % (2 * heads) == 0:
            yield rows.reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)

    def _rows(self, tensor: Tensor, which: NDArray[np.intp]) -> Floats:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        kind = GGMLQuantizationType(tensor.kind)
        block, size = GGML_QUANT_SIZES[kind]
        rows, columns = tensor.shape
        length = columns // block * size
        table = self._bytes[tensor.offset : tensor.offset + rows * length].reshape(rows, length)
        weights: Floats = dequantize(table[which], kind)
        return weights


def _tables(model: ov.Model) -> Iterator[_Table]:
    """Every ``Multiply(Subtract(Convert(levels), Convert(zeros)), scales)`` over constants."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Subtract":
            continue
        users = node.output(0).get_target_inputs()
        multiply = next(iter(users)).get_node()
        if len(users) == 1 and multiply.get_type_name() == "Multiply" and _is_table(node, multiply):
            yield _Table(node, multiply)


def _is_table(subtract: ov.Node, multiply: ov.Node) -> bool:
    converted = [subtract.input_value(port).get_node() for port in (0, 1)]
    return (
        len(subtract.get_output_partial_shape(0)) == 3
        and all(_is_constant(each.input_value(0)) for each in converted if each.get_type_name() == "Convert")
        and all(each.get_type_name() == "Convert" for each in converted)
        and _is_constant(multiply.input_value(1))
    )


def _is_constant(output: ov.Output) -> bool:
    return bool(output.get_node().get_type_name() == "Constant")


def _values(constant: ov.Node) -> NDArray[Any]:
    """A constant's values; those of 4 bits lie two in a byte, the first in the lower half."""
    import numpy as np

    shape = tuple(constant.get_output_shape(0))
    data = np.asarray(constant.data)
    if constant.get_element_type().get_type_name() != "u4":
        return data.reshape(shape)
    packed = data.reshape(-1).view("uint8")
    return np.stack((packed & 15, packed >> 4), axis=-1).reshape(-1)[: math.prod(shape)].reshape(shape)


def _half(values: NDArray[Any]) -> ov.Output:
    from openvino import opset13 as ops

    return ops.constant(values.astype("float16")).output(0)
