"""CEL with limits: what guards and durations are written in. The interpreter is loaded when a text needs it.

The interpreter has no limits of its own, so ours come first: at most 500 characters, a tree at most 200 deep, and of
the language only operators, names, literals, and the functions that the caller gives. No macros, methods, indexing,
lists or maps: an expression's work is bounded by its length.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from labcommons.core.errors import InvalidInput, LabCommonsError

__all__ = ["MAX_SOURCE", "Expression", "compile_expression"]

MAX_SOURCE = 500
MAX_DEPTH = 200

FUNCTIONS = frozenset({"quantity", "has", "double"})

# fmt: off
_ALLOWED = frozenset(
    {
        "expr", "conditionalor", "conditionaland", "relation", "relation_lt", "relation_le", "relation_gt",
        "relation_ge", "relation_eq", "relation_ne", "addition", "addition_add", "addition_sub",
        "multiplication", "multiplication_mul", "multiplication_div", "multiplication_mod", "unary",
        "unary_not", "unary_neg", "member", "member_dot", "primary", "paren_expr", "ident", "ident_arg",
        "exprlist", "literal",
    }
)
# fmt: on
_REFUSED = {
    "member_dot_arg": "methods and macros",
    "member_index": "indexing",
    "member_object": "objects",
    "list_lit": "lists",
    "map_lit": "maps",
    "relation_in": '"in"',
    "dot_ident": "names that begin with a dot",
    "dot_ident_arg": "names that begin with a dot",
}


@dataclass(frozen=True)
class Expression:
    """A checked expression. ``references``: every name it reads, dotted (``steps.mix.outputs.volume``, ``red``)."""

    source: str
    references: frozenset[str]
    code: str
    _tree: Any

    def evaluate(self, context: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
        """The interpreter's value. ``context``: dicts, ints, floats, texts, and objects that compare.

        Raises ``InvalidInput`` with the expression's code; errors of ours from ``functions`` or comparisons pass.
        """
        celpy, environment = _machinery()
        try:
            program = environment.program(self._tree, functions=dict(functions))
            return program.evaluate({name: _cel(celpy.celtypes, value) for name, value in context.items()})
        except LabCommonsError:
            raise
        except (celpy.CELEvalError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise bad(self.code, self.source, f"cannot be evaluated: {_reason(error)}") from None


@lru_cache(maxsize=512)
def compile_expression(source: str, code: str) -> Expression:
    """The checked expression. Raises ``InvalidInput`` with ``code`` (``bad_guard``, ``bad_duration``)."""
    if not 0 < len(source) <= MAX_SOURCE:
        raise bad(code, source, f"has {len(source)} characters; {MAX_SOURCE} at most")
    celpy, environment = _machinery()
    try:
        tree = environment.compile(source)
    except (celpy.CELParseError, RecursionError, ValueError, TypeError) as error:
        raise bad(code, source, f"is not CEL: {_reason(error)}") from None
    return Expression(source, frozenset(_walk(tree, source, code)), code, tree)


def bad(code: str, source: str, what: str) -> InvalidInput:
    """The error for an expression that cannot be used."""
    shown = source if len(source) <= 80 else source[:77] + "..."
    return InvalidInput(
        f"the expression {shown!r} {what}",
        code=code,
        remedy="use names, numbers, comparisons, + - * / % && || ! ?: and quantity('20', 'uL'), has(), double()",
    )


def _walk(root: Any, source: str, code: str) -> set[str]:
    """The names that the tree reads. An explicit stack: the tree's depth is the sender's choice."""
    names: set[str] = set()
    stack: list[tuple[Any, int, bool]] = [(root, 1, False)]
    while stack:
        node, depth, inside = stack.pop()
        kind = getattr(node, "data", None)
        if kind is None:
            continue
        if depth > MAX_DEPTH:
            raise bad(code, source, "is nested too deeply")
        if kind not in _ALLOWED:
            raise bad(code, source, f"uses {_REFUSED.get(str(kind), str(kind))}, which is not taken here")
        if kind == "ident_arg" and str(node.children[0]) not in FUNCTIONS:
            raise bad(code, source, f"calls {str(node.children[0])[:40]!r}, which is not a function here")
        if kind in ("member_dot", "ident") and not inside:
            names.add(_dotted(node))
        # Below a dotted name lies only that name, which is taken whole.
        below = inside or kind == "member_dot"
        chained = below and kind in ("member_dot", "member", "primary")
        stack.extend((child, depth + 1, chained) for child in node.children)
    return names


def _dotted(node: Any) -> str:
    parts: list[str] = []
    while getattr(node, "data", None) != "ident":
        if node.data == "member_dot":
            parts.append(str(node.children[1]))
        elif node.data not in ("member", "primary"):
            return ".".join(["?", *reversed(parts)])  # a field of something computed, such as (a + b).c
        node = node.children[0]
    return ".".join([str(node.children[0]), *reversed(parts)])


def _cel(celtypes: Any, value: Any) -> Any:
    match value:
        case int():
            return celtypes.IntType(value)
        case float():
            return celtypes.DoubleType(value)
        case str():
            return celtypes.StringType(value)
        case dict():
            return celtypes.MapType({celtypes.StringType(k): _cel(celtypes, v) for k, v in value.items()})
        case _:
            return value


def _reason(error: BaseException) -> str:
    first = error.args[0] if error.args else type(error).__name__
    return str(first).split("\n", 1)[0].split("(in activation", 1)[0].strip()[:160]


@lru_cache(maxsize=1)
def _machinery() -> tuple[Any, Any]:
    import celpy

    limit = sys.getrecursionlimit()
    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    # Making it sets the process's limit to a number of its own, which may be lower than it was.
    sys.setrecursionlimit(max(limit, sys.getrecursionlimit()))
    return celpy, environment
