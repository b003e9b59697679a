"""What Triton's interpreter computes wrongly, or not at all, in a builder of our own.

The interpreter keeps bfloat16 and float8 as integers. Its own builder adds and multiplies these integers, converts
without rounding to nearest, and has no extern functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from torchdevice.patches.change import Undo, set_all
from torchdevice.patches.triton import libdevice
from torchdevice.patches.triton.floats import FORMATS, decode, encode, tf32

#: Operators of floating-point numbers; those that only look at bits are right as they are.
FLOATING = (
    "fadd", "fsub", "fmul", "fdiv", "frem", "fneg", "precise_divf", "fma", "clampf", "minimumf", "minnumf", "maximumf",
    "maxnumf", "floor", "ceil", "sqrt", "precise_sqrt", "rsqrt", "exp", "exp2", "log", "log2", "sin", "cos", "erf",
    *(f"fcmp{order}{relation}" for order in "OU" for relation in ("LT", "GT", "LE", "GE", "EQ", "NE")),
)  # fmt: skip

_ATOMIC: dict[str, Callable[[Any, Any], Any]] = {
    "FADD": np.add, "XCHG": lambda _, new: new, "MIN": np.minimum, "MAX": np.maximum,
}  # fmt: skip


def repair(interpreter: ModuleType) -> Undo:
    """Give `triton.runtime.interpreter` a builder that is right; returns the undo."""
    builder = _builder_class(interpreter)()
    return set_all(
        interpreter,
        {
            "interpreter_builder": builder,
            "interpreter_semantic": interpreter.TritonSemantic(builder),
            "_implicit_cvt": _argument_of(interpreter, interpreter._implicit_cvt),
        },
    )


def _argument_of(interpreter: ModuleType, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`convert`, of an argument of a kernel; a float is a number of Triton's, as in compiled kernels."""
    tl, handle = interpreter.tl, interpreter.TensorHandle

    @functools.wraps(convert)
    def argument(value: Any) -> Any:
        if isinstance(value, float):
            return tl.tensor(handle(np.array([value], dtype=np.float32), tl.float32), tl.float32)
        return convert(value)

    return argument


def _builder_class(interpreter: ModuleType) -> type:
    tl, ir = interpreter.tl, interpreter._ir
    Handle = interpreter.TensorHandle  # noqa: N806
    numpy_type = interpreter._get_np_dtype

    def is_kept_as_integer(handle: Any) -> bool:
        return isinstance(handle, Handle) and handle.dtype.scalar.name in FORMATS

    def widened(handle: Any) -> Any:
        """Float32 in place of what NumPy cannot compute with."""
        if not is_kept_as_integer(handle):
            return handle
        return Handle(decode(handle.data, FORMATS[handle.dtype.scalar.name]), tl.float32)

    def converted(data: Any, source: Any, target: Any, toward_zero: bool = False) -> Any:
        """Numbers of one of Triton's types as those of another, as NVIDIA's instructions convert them."""
        numbers = decode(data, FORMATS[source.name]) if source.name in FORMATS else data
        if target.name in FORMATS:
            return encode(numbers, FORMATS[target.name], toward_zero)
        kind = numpy_type(target)
        with np.errstate(over="ignore", invalid="ignore"):
            if source.is_floating() and kind.kind in "iu" and kind.itemsize >= 4:
                return _saturated(numbers, kind)
            result = numbers.astype(kind)
        if toward_zero and target.is_floating():
            past = np.abs(result.astype(np.float64)) > np.abs(numbers.astype(np.float64))
            result = np.where(past, np.nextafter(result, kind.type(0)), result)
        return result

    class Builder(interpreter.InterpreterBuilder):  # type: ignore[misc,name-defined]
        def get_bf16(self, value: float) -> Any:
            return Handle(encode(np.array([value]), FORMATS["bf16"]), tl.bfloat16)

        def cast_impl(self, src: Any, dst_type: Any) -> Any:
            return Handle(converted(src.data, src.dtype.scalar, dst_type.scalar), dst_type.scalar)

        def create_fp_to_fp(self, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
            toward_zero = rounding_mode == ir.ROUNDING_MODE.RTZ
            return Handle(converted(src.data, src.dtype.scalar, dst_type.scalar, toward_zero), dst_type.scalar)

        def create_dot(self, a: Any, b: Any, d: Any, input_precision: Any, *others: Any) -> Any:
            left, right = widened(a).data, widened(b).data
            if left.dtype == np.float32 and a.dtype.scalar == tl.float32 and input_precision == ir.INPUT_PRECISION.TF32:
                left, right = tf32(left), tf32(right)
            if not d.dtype.scalar.is_floating():
                return super().create_dot(a, b, d, input_precision, *others)
            # Tensor cores add up in float32, whatever the type of the result.
            wide = np.float64 if d.data.dtype == np.float64 else np.float32
            total = np.matmul(left, right, dtype=wide) + widened(d).data.astype(wide)
            source = tl.float64 if wide == np.float64 else tl.float32
            return Handle(converted(total, source, d.dtype.scalar), d.dtype.scalar)

        def create_atomic_rmw(self, rmw_op: Any, ptr: Any, val: Any, mask: Any, *others: Any) -> Any:
            if val.dtype.scalar != tl.bfloat16:
                return super().create_atomic_rmw(rmw_op, ptr, val, mask, *others)
            return self._one_by_one(_ATOMIC[rmw_op.name], ptr, val, mask)

        def _one_by_one(self, combine: Callable[[Any, Any], Any], ptr: Any, val: Any, mask: Any) -> Any:
            """An atomic operation on bfloat16: elements may be at one place."""
            before = np.zeros_like(val.data)
            for at in np.ndindex(val.data.shape):
                if mask.data[at]:
                    place, one = Handle(ptr.data[at].reshape(1), ptr.dtype), np.ones(1, bool)
                    there = self.create_load(place, None, None, False)
                    before[at] = there.data[0]
                    number = Handle(val.data[at].reshape(1), val.dtype)
                    new = combine(widened(there).data, widened(number).data)
                    self.create_masked_store(
                        place, Handle(encode(new, FORMATS["bf16"]), tl.bfloat16), Handle(one, tl.int1), None, None
                    )
            return Handle(before, val.dtype.scalar)

        def create_extern_elementwise(
            self, lib_name: str, lib_path: str, symbol: str, arguments: list[Any], result: Any, is_pure: bool
        ) -> Any:
            kind = numpy_type(result)
            return Handle(libdevice.call(symbol, [one.data for one in arguments], kind), result.scalar)

    def in_float32(name: str) -> Callable[..., Any]:
        original = getattr(interpreter.InterpreterBuilder, name)

        @functools.wraps(original)
        def compute(self: Any, *arguments: Any) -> Any:
            if not any(map(is_kept_as_integer, arguments)):
                return original(self, *arguments)
            result = original(self, *map(widened, arguments))
            if result.data.dtype.kind != "f":
                return result  # of a comparison
            return Handle(encode(result.data, FORMATS["bf16"]), tl.bfloat16)

        return compute

    for name in FLOATING:
        if hasattr(interpreter.InterpreterBuilder, f"create_{name}"):
            setattr(Builder, f"create_{name}", in_float32(f"create_{name}"))
    # The interpreter's conversions are bound to the name that they had there.
    for name in ("si_to_fp", "ui_to_fp", "fp_to_si", "fp_to_ui", "fp_ext", "fp_trunc"):
        setattr(Builder, f"create_{name}", Builder.cast_impl)
    return Builder


def _saturated(numbers: Any, kind: Any) -> Any:
    """Toward zero; what is too large becomes the largest integer, and NaN zero."""
    limits = np.iinfo(kind)
    whole = np.trunc(numbers.astype(np.float64))
    result = np.where(np.isnan(whole), 0, np.clip(whole, float(limits.min), float(limits.max)))
    # The largest 64-bit integers are no floating-point numbers.
    return np.where(
        whole >= float(limits.max), limits.max, np.where(whole >= float(limits.max), 0, result).astype(kind)
    )
