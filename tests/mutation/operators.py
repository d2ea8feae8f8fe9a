"""The only place that says what a mutant is: one small change of a module's tree, or of its Lua.

Not changed: docstrings, annotations, the text of errors and f-strings, ``__slots__``, and what
stands under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Edit = Callable[[Any], None]

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip
_LUA = [
    (re.compile(r"=="), "~="), (re.compile(r"~="), "=="), (re.compile(r"(?<![<>~=])>(?!=)"), ">="),
    (re.compile(r"(?<![<>~=])<(?!=)"), "<="), (re.compile(r">="), ">"), (re.compile(r"<="), "<"),
    (re.compile(r"\band\b"), "or"), (re.compile(r"\bor\b"), "and"), (re.compile(r"\bnot "), ""),
    (re.compile(r"\btrue\b"), "false"), (re.compile(r"\bfalse\b"), "true"),
    (re.compile(r"(?<=[\w\])]) \+ (?=\w)"), " - "), (re.compile(r"(?<=[\w\])]) - (?=\w)"), " + "),
    (re.compile(r"(?<![\w.'-])\d+(?![\w.'-])"), "+1"),
]  # fmt: skip
"""What is looked for in each line of Lua, and what is put there; ``+1`` counts a number up."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: ``line`` of the module, its text, what was done, and the module's new tree."""

    module: str
    line: int
    text: str
    change: str
    tree: ast.Module

    @property
    def key(self) -> str:
        """What stays the same when lines move: the line's text and the change."""
        return f"{self.module}: {self.text} [{self.change}]"


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    lines = source.splitlines()
    passed = _passed_over(tree)
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in passed or not hasattr(node, "lineno"):
            continue
        for change, edit in _edits(node):
            made = copy.deepcopy(tree)
            target = _nth(made, number)
            line = node.lineno
            edit(target)
            ast.fix_missing_locations(made)
            yield Mutant(module, line, lines[line - 1].strip(), change, made)
        if isinstance(node, ast.Constant) and _is_lua(node):
            yield from _lua(module, tree, number, node)


def _nth(tree: ast.Module, number: int) -> ast.AST:
    for at, node in enumerate(ast.walk(tree)):
        if at == number:
            return node
    raise LookupError(number)


def _passed_over(tree: ast.Module) -> set[int]:
    """Nodes that are text or types."""
    found: set[int] = set()
    for node in ast.walk(tree):
        for part in _unsaid(node):
            found.update(id(one) for one in ast.walk(part))
    return found


def _unsaid(node: ast.AST) -> list[ast.AST]:
    """Parts of ``node`` that no mutant touches."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [node]
    if isinstance(node, (ast.Raise, ast.JoinedStr)):
        return [one for one in ast.walk(node) if _is_text(one)]
    if isinstance(node, ast.Assign):
        named = isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__slots__"
        return [node] if named or _is_type_alias(node) else []
    types = (getattr(node, "annotation", None), getattr(node, "returns", None))
    return [one for one in types if one is not None]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_type_alias(node: ast.Assign) -> bool:
    """``Handler = Callable[...]``: a subscript of capital letters is a type."""
    value = node.value
    named = isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name)
    return named and value.value.id in ("tuple", "dict", "list", "Callable", "Union")  # type: ignore[attr-defined]  # looked at


def _edits(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """What can be done to ``node``: (what, how), where how changes a copy of it in place."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            new = _SWAPPED[type(operator)]
            yield f"{_name(operator)} -> {new.__name__}", _set_op(at, new)
    elif isinstance(node, (ast.BoolOp, ast.BinOp, ast.AugAssign)):
        new = _SWAPPED.get(type(node.op), ast.Add)
        yield f"{_name(node.op)} -> {new.__name__}", _set("op", new())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not taken away", _truth
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield "condition negated", _negate
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    else:
        yield from _values(node)
    if isinstance(node, (ast.For, ast.While, ast.If, ast.FunctionDef, ast.Try, ast.With)):
        yield from _bodies(node)


def _values(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """What is given back, assigned to an attribute, or done for its effect only."""
    if isinstance(node, ast.Return) and not _is_none(node.value):
        yield "returns None", _set("value", ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call taken away", _set("value", ast.Constant(None))
    elif (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and not isinstance(node.value, ast.Constant)
    ):
        yield "assigns None", _set("value", ast.Constant(None))


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _bodies(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """``raise``, ``break``, ``continue`` and bare ``return`` in a body are taken away."""
    for name in ("body", "orelse", "finalbody"):
        for at, statement in enumerate(getattr(node, name, ())):
            if isinstance(statement, (ast.Raise, ast.Break, ast.Continue)):
                yield (
                    f"{_name(statement).lower()} taken away (+{_at(node, statement)})",
                    _drop(name, at),
                )


def _at(node: ast.AST, statement: ast.stmt) -> int:
    return statement.lineno - node.lineno  # type: ignore[attr-defined]  # statements have lines


def _constants(node: ast.Constant) -> Iterator[tuple[str, Edit]]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} -> {not value}", _set("value", not value)
    elif isinstance(value, (int, float)):
        yield f"{value} -> {value + 1}", _set("value", value + 1)
    elif isinstance(value, (str, bytes)) and not _is_lua(node):
        new = b"XX" + value if isinstance(value, bytes) else "XX" + value
        yield f"{value!r:.40} -> {new!r:.40}", _set("value", new)


def _is_lua(node: ast.Constant) -> bool:
    return isinstance(node.value, str) and "redis.call" in node.value


def _lua(module: str, tree: ast.Module, number: int, node: ast.Constant) -> Iterator[Mutant]:
    lines = node.value.split("\n")
    for at, line in enumerate(lines):
        code = line.split("--")[0]
        for pattern, put in _LUA:
            for match in pattern.finditer(code):
                new = str(int(match.group()) + 1) if put == "+1" else put
                changed = [*lines]
                changed[at] = line[: match.start()] + new + line[match.end() :]
                made = copy.deepcopy(tree)
                _nth(made, number).value = "\n".join(changed)  # type: ignore[attr-defined]  # the constant
                told = f"{match.group().strip()}@{match.start()} -> {new.strip() or 'nothing'}"
                yield Mutant(module, node.lineno + at, line.strip(), told, made)


def _set(name: str, value: object) -> Edit:
    def edit(node: ast.AST) -> None:
        setattr(node, name, value)

    return edit


def _set_op(at: int, new: type[ast.AST]) -> Edit:
    def edit(node: ast.Compare) -> None:
        node.ops[at] = new()  # type: ignore[call-overload]  # a class of an operator

    return edit


def _drop(name: str, at: int) -> Edit:
    def edit(node: ast.AST) -> None:
        body = getattr(node, name)
        body[at] = ast.copy_location(ast.Pass(), body[at])

    return edit


def _negate(node: ast.If | ast.While | ast.IfExp) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _truth(node: ast.UnaryOp) -> None:
    """``not x`` becomes ``not not x``: the truth of x."""
    node.operand = ast.UnaryOp(ast.Not(), node.operand)


def _name(node: ast.AST) -> str:
    return type(node).__name__
