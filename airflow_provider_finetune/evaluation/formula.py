"""The formula of a ``multi`` grader: numbers, names of graders, ``+ - * / ^``, and a few functions. Never ``eval``."""

from __future__ import annotations

import ast
import math
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
#: https://platform.openai.com/docs/guides/graders#multigraders
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_LONGEST = 2000


class Formula:
    """A formula that was checked.

    :param text: such as ``0.8 * accuracy + 0.2 * min(style, 1)``.
    :param names: of the graders.
    :raises ValueError: it has anything else in it.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"calculate_output has more than {_LONGEST} characters")
        try:
            # In the API, ^ is the power.
            self._tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
            _check(self._tree, names)
        except (SyntaxError, RecursionError, MemoryError, OverflowError):
            raise ValueError(f"calculate_output {text[:80]!r} is no formula") from None

    def value(self, grades: Mapping[str, float]) -> float:
        """Return the value for these grades.

        :raises ValueError: there is none: a division by zero, the logarithm of a negative number …
        """
        try:
            found = float(_value(self._tree, grades))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"calculate_output has no value: {error}") from None
        if not math.isfinite(found):
            raise ValueError("calculate_output has no finite value")
        return found


def _check(node: ast.expr, names: Collection[str]) -> None:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            float(number)
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"calculate_output names {name!r}; expected one of {', '.join(sorted(names))}")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, names)
            _check(right, names)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, names)
        case ast.Call(func=ast.Name(id=function), args=[_, *_] as arguments, keywords=[]) if function in _FUNCTIONS:
            if len(arguments) != 1 and function not in ("min", "max"):
                raise ValueError(f"calculate_output gives {function} {len(arguments)} arguments; expected 1")
            for argument in arguments:
                _check(argument, names)
        case _:
            raise ValueError(
                "calculate_output may hold numbers, names of graders, + - * / ^, brackets, and "
                f"{', '.join(_FUNCTIONS)}; found {type(node).__name__}"
            )


def _value(node: ast.expr, grades: Mapping[str, float]) -> Any:
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type] # was checked
        case ast.Name(id=name):
            return grades[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, grades), _value(right, grades))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, grades))
        case ast.Call(func=ast.Name(id=function), args=arguments):
            values = [_value(argument, grades) for argument in arguments]
            return _FUNCTIONS[function](*values) if len(values) > 1 or function not in ("min", "max") else values[0]
    raise AssertionError(node)  # _check lets nothing else pass
