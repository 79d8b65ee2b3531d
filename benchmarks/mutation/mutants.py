"""The mutants of a source file: one small change each, made on its syntax tree and written into its text.

Changed are: arithmetic, comparisons, boolean operators, conditions, numbers, switches, statements that only have an
effect, calls that limit, detach or aggregate, keyword arguments, early exits, blocks without gradients. Left alone are:
strings (and so docstrings, messages and names), annotations, decorators, ``raise`` statements, ``strict=`` and
``device=``, the rows of the catalogue, and the sign of -1 (the last axis of a matrix is its axis 1; -1 does become -2
and -0).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Mutant", "mutants_of"]

ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_PAIRS = (
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("clamp_min", "clamp_max"),
    ("any", "all"),
    ("mean", "sum"),
    ("log", "exp"),
    ("ones", "zeros"),
    ("ones_like", "zeros_like"),
    ("new_ones", "new_zeros"),
    ("no_grad", "enable_grad"),
)
SWAPPED: Final = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
"""Functions and methods that are exchanged for another."""
BUILTINS: Final = frozenset({"min", "max", "any", "all"})
DROPPED: Final = frozenset(
    {
        "abs",
        "clamp",
        "clamp_",
        "clamp_min",
        "clamp_max",
        "clone",
        "detach",
        "double",
        "eval",
        "exp",
        "float",
        "log",
        "relu",
        "sigmoid",
        "softmax",
        "sqrt",
        "square",
        "tanh",
        "to",
        "train",
    }
)
"""Methods whose call is dropped: ``x.detach()`` becomes ``x``."""
UNWRAPPED: Final = frozenset(
    {
        "abs",
        "float",
        "int",
        "max",
        "min",
        "round",
        "scale_gradient",
        "sorted",
        "maximum",
        "minimum",
        "normalize",
        "relu",
        "softmax",
    }
)
"""Functions of which the first argument remains: ``sorted(x)`` becomes ``x``."""
UNTOUCHED_KEYWORDS: Final = frozenset({"strict", "device"})
"""``strict=`` of `zip` guards against programming errors; no test has a second device."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: the source file.
        where: qualified name of the function or class it is in, or ``<module>``.
        change: what was and what is, as source; numbered where a function holds it twice.
        lines: first and last line of the statement (or its head) that holds the change.
        in_body: whether only the body of a function changes, and no default, class attribute or constant.
        source: the changed text; its lines are numbered as in the file.
    """

    file: Path
    where: str
    change: str
    lines: tuple[int, int]
    in_body: bool
    source: bytes

    @property
    def key(self) -> str:
        """What the change is called in tables and in the file of reasons; free of line numbers."""
        return f"{self.where}: {self.change}"


@dataclass(frozen=True)
class _Site:
    """A node, the nodes around it (outermost first), and where it is."""

    node: ast.AST
    parents: tuple[ast.AST, ...]
    where: str
    in_body: bool


def mutants_of(file: Path) -> list[Mutant]:
    """Return all mutants of a file, in order of appearance.

    Args:
        file: the source file.

    Raises:
        SyntaxError: if it is no Python.
    """
    text = _Text(file.read_bytes())
    seen: Counter[tuple[str, str]] = Counter()
    mutants = []
    for site in _sites(ast.parse(text.source), (), "<module>", False):
        shown, name = _shown(site), _name_of_default(site)
        for other in _changes(site):
            source = text.replaced(site.node, other)
            after = "" if isinstance(other, str) else text.shown(shown, (site.node, other))
            change = f"`{name}{text.shown(shown)}` → " + (f"`{name}{after}`" if after else "dropped")
            seen[site.where, change] += 1
            if (count := seen[site.where, change]) > 1:
                change += f" (no. {count})"
            mutants.append(Mutant(file, site.where, change, _lines(site), site.in_body, source))
    return mutants


def _sites(node: ast.AST, parents: tuple[ast.AST, ...], where: str, in_body: bool) -> Iterator[_Site]:
    """Yield every place that may be changed, depth first."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    yield _Site(node, parents, where, in_body)
    scope = isinstance(node, ast.FunctionDef | ast.ClassDef)
    inner = (node.name if where == "<module>" else f"{where}.{node.name}") if scope else where
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        body = in_body or (field == "body" and isinstance(node, ast.FunctionDef))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _left_alone(child, where):
                yield from _sites(child, (*parents, node), inner, body)


def _left_alone(node: ast.AST, where: str) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in UNTOUCHED_KEYWORDS
    if isinstance(node, ast.Assign) and where == "<module>":
        return any(isinstance(t, ast.Name) and t.id in ("__all__", "METHODS") for t in node.targets)
    if isinstance(node, ast.AnnAssign) and where == "<module>":
        return isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"
    return False


def _changes(site: _Site) -> Iterator[ast.expr | ast.stmt | str]:
    """Yield what may stand in a node's stead; a text is a statement that does nothing."""
    node, parent = site.node, site.parents[-1] if site.parents else None
    match node:
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right)
        case ast.AugAssign(op=op):
            if type(op) in ARITHMETIC:
                yield ast.AugAssign(node.target, ARITHMETIC[type(op)](), node.value)
            yield "if 0: "
        case ast.Compare(ops=[op]):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            pass
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool() | int() | float() as value):
            yield from map(ast.Constant, _other_numbers(value))
        case ast.Call():
            yield from _other_calls(node, alone=isinstance(parent, ast.Expr))
        case ast.Expr(value=ast.Call()):
            yield "0 and "
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "if 0: "
        case ast.Continue() | ast.Break() | ast.Return(value=None):
            yield ast.Pass()
    if isinstance(node, ast.expr) and _is_condition(node, parent):
        yield ast.UnaryOp(ast.Not(), node)


def _other_numbers(value: bool | float) -> list[bool | float]:
    """Return what may stand in the place of a number."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [value + 1, value / 2 if abs(value) > 1e-6 else -1.0 if value == 0 else 0.0]


def _is_condition(node: ast.expr, parent: ast.AST | None) -> bool:
    """Tell whether an expression decides a branch and has no change of its own that negates it."""
    if isinstance(node, ast.UnaryOp) or (isinstance(node, ast.Compare) and len(node.ops) == 1):
        return False
    if isinstance(parent, ast.If | ast.IfExp | ast.While):
        return node is parent.test
    return isinstance(parent, ast.comprehension) and node in parent.ifs


def _other_calls(node: ast.Call, *, alone: bool) -> Iterator[ast.expr]:
    def called(function: ast.expr) -> ast.Call:
        return ast.Call(function, node.args, node.keywords)

    match node.func:
        case ast.Attribute(value=value, attr=name):
            if name in SWAPPED:
                yield called(ast.Attribute(value, SWAPPED[name]))
            if name in DROPPED and not _is_module(value) and not alone:
                yield value
            if name in UNWRAPPED and _is_module(value) and node.args:
                yield node.args[0]
        case ast.Name(id=name):
            if name in BUILTINS:
                yield called(ast.Name(SWAPPED[name]))
            if name in UNWRAPPED and len(node.args) > 0 and not isinstance(node.args[0], ast.GeneratorExp):
                yield node.args[0]
    for keyword in node.keywords:
        if keyword.arg and keyword.arg not in UNTOUCHED_KEYWORDS and not isinstance(keyword.value, ast.Constant):
            yield ast.Call(node.func, node.args, [k for k in node.keywords if k is not keyword])


def _is_module(node: ast.expr) -> bool:
    return ast.unparse(node) in ("torch", "nn.functional", "functional", "F", "np", "math", "nn")


def _shown(site: _Site) -> ast.AST:
    """Return the node to show: one that reads well, not a bare number."""
    node = site.node
    for parent in reversed(site.parents):
        small = isinstance(node, ast.Constant | ast.UnaryOp | ast.Name | ast.keyword | ast.Slice | ast.Attribute)
        small = small or (isinstance(node, ast.expr) and len(ast.unparse(node)) < 16)
        wanted = isinstance(parent, ast.expr | ast.keyword | ast.Assign | ast.AnnAssign | ast.Return | ast.AugAssign)
        if not small or not wanted or (len(ast.unparse(parent)) > 100 and not isinstance(node, ast.Attribute)):
            break
        node = parent
    return node


def _name_of_default(site: _Site) -> str:
    """Return ``name=`` for the default of a parameter, else nothing."""
    for parent, child in zip(reversed(site.parents), (site.node, *reversed(site.parents)), strict=False):
        if isinstance(parent, ast.arguments):
            positional = [*parent.posonlyargs, *parent.args][-len(parent.defaults) :] if parent.defaults else []
            pairs = [
                *zip(positional, parent.defaults, strict=True),
                *zip(parent.kwonlyargs, parent.kw_defaults, strict=True),
            ]
            return next((f"{name.arg}=" for name, default in pairs if default is child), "")
    return ""


def _lines(site: _Site) -> tuple[int, int]:
    statement = next(p for p in (site.node, *reversed(site.parents)) if isinstance(p, ast.stmt))
    body = getattr(statement, "body", None)
    last = (
        body[0].lineno - 1
        if isinstance(body, list) and body and isinstance(statement, ast.stmt)
        else statement.end_lineno
    )
    return statement.lineno, max(statement.lineno, last or 0)


class _Text:
    """The bytes of a file, addressed by syntax nodes."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the first byte of a node, and the one after its last."""
        assert isinstance(node, ast.expr | ast.stmt | ast.keyword)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def new(self, node: ast.AST, other: ast.AST | str) -> bytes:
        """Return what stands in a node's stead, over as many lines."""
        start, end = self.span(node)
        before = self.source[start:end]
        if isinstance(other, str):
            return other.encode() + before
        written = ast.unparse(ast.fix_missing_locations(other)).encode()
        padding = b"\n" * before.count(b"\n")
        return b"(" + written + padding + b")" if isinstance(other, ast.expr) else written + padding

    def replaced(self, node: ast.AST, other: ast.AST | str) -> bytes:
        """Return the whole text with a node replaced."""
        start, end = self.span(node)
        return self.source[:start] + self.new(node, other) + self.source[end:]

    def shown(self, outer: ast.AST, change: tuple[ast.AST, ast.AST] | None = None) -> str:
        """Return a node's text in one line, with an inner node replaced."""
        start, end = self.span(outer)
        text = self.source[start:end]
        if change:
            first, last = self.span(change[0])
            text = self.source[start:first] + ast.unparse(change[1]).encode() + self.source[last:end]
        return " ".join(text.decode().split())
