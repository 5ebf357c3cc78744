"""Source -> mutants of it: mutmut's operators and a few more, wherever code stands.

mutmut itself passes over decorated functions and module constants: views, hooks and bounds.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst import matchers as m
from libcst.metadata import ByteSpanPositionProvider, CodeSpan, MetadataWrapper
from mutmut.mutation import mutators

# What changes nothing that runs, or says the same to a type checker alone.
SILENT = (
    m.Annotation()
    | m.Import()
    | m.ImportFrom()
    | m.Decorator(m.Name("property") | m.Call(m.Name("dataclass") | m.Name("wraps")))
    | m.Assign(value=m.Call(m.Name("TypeVar")))
    | m.Call(m.Name("cast"))
)
QUERY = m.Attribute(attr=m.Name("where"))
ANY_NUMBER = ("min", "max", "or_", "and_")
DOCSTRING = m.Expr(m.SimpleString() | m.ConcatenatedString())


MARK = "__reach__"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed source; `name` says where and what, and stays when other lines move."""

    where: str
    name: str
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """Returns every mutant of the source that is another program, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    spans = wrapper.resolve(ByteSpanPositionProvider)
    walk = Walk()
    wrapper.module.visit(walk)
    names: Counter[str] = Counter()
    found = []
    for where, node, changed in walk.changes:
        code = spliced(source, spans[node], wrapper.module.code_for_node(changed))
        name = f"{where}: {difference(source, code)}"
        names[name] += 1
        found.append(Mutant(where, name if names[name] == 1 else f"{name} #{names[name]}", code))
    return found


def spliced(source: str, span: CodeSpan, code: str) -> str:
    octets = source.encode()
    return (octets[: span.start] + code.encode() + octets[span.start + span.length :]).decode()


def difference(old: str, new: str) -> str:
    """Returns the lines that differ, as they were and as they are."""
    lines = list(difflib.ndiff(*differing(lines_of(old), lines_of(new))))
    gone, come = (
        " ".join(line[2:] for line in lines if line.startswith(sign)) for sign in ("- ", "+ ")
    )
    return f"{gone} -> {come}"


def lines_of(source: str) -> list[str]:
    return [" ".join(line.split()) for line in source.splitlines()]


def differing(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Returns the lines between those that both begin and end with: comparing all takes long."""
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return old, new


class Walk(cst.CSTVisitor):
    """Collects (where, node, changed node) from a module."""

    def __init__(self) -> None:
        super().__init__()
        self.place: list[str] = []
        self.changes: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.place.append(node.name.value)
        elif isinstance(node, cst.Decorator):  # runs when the function is made, not in it
            self.place.append("decorator")
        if m.matches(node, SILENT | DOCSTRING):
            return False
        where = ".".join(self.place) or "module"
        if isinstance(node, cst.If):
            self.changes += ((where, node.test, changed) for changed in condition(node.test))
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                self.changes += ((where, node, changed) for changed in operator(node))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef | cst.Decorator):
            self.place.pop()


def is_prose(node: cst.CSTNode) -> bool:
    text = m.SimpleString(m.MatchIfTrue(lambda value: " " in value))
    return m.matches(node, text | m.ConcatenatedString() | m.FormattedString())


def string(node: cst.SimpleString) -> Iterable[cst.CSTNode]:
    """Another word; what is said to people is no behaviour."""
    return [] if is_prose(node) else list(mutators.operator_string(node))[:1]


def arguments(call: cst.Call) -> Iterator[cst.CSTNode]:
    """An option or a condition left out; a call without what it needs would only break."""
    for number, each in enumerate(call.args):
        rest = [*call.args[:number], *call.args[number + 1 :]]
        if is_option(each) or (is_of_any_number(call) and not each.star):
            yield call.with_changes(args=rest)


def is_option(argument: cst.Arg) -> bool:
    return argument.keyword is not None and not is_prose(argument.value)


def is_of_any_number(call: cst.Call) -> bool:
    enough = len(call.args) > 1 or m.matches(call.func, QUERY)
    return enough and m.matches(call.func, QUERY | m.OneOf(*map(m.Name, ANY_NUMBER)))


def assignment(node: cst.Assign | cst.AnnAssign) -> Iterator[cst.CSTNode]:
    """What is kept in an object isn't; a name that holds nothing would only break."""
    target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
    if not isinstance(target, cst.Name | cst.Tuple):
        yield cst.Pass()


def statement(_node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A statement left out: a guard that doesn't raise, a call that isn't made."""
    yield cst.Pass()


def condition(_node: cst.BaseExpression) -> Iterator[cst.CSTNode]:
    """A branch always taken, and never."""
    yield cst.Name("True")
    yield cst.Name("False")


Operator = tuple[type[cst.CSTNode], Callable[[Any], Iterable[cst.CSTNode]]]
REPLACED = (
    mutators.operator_string,
    mutators.operator_arg_removal,
    mutators.operator_assignment,
)
OPERATORS: list[Operator] = [
    *(each for each in mutators.mutation_operators if each[1] not in REPLACED),
    (cst.SimpleString, string),
    (cst.Call, arguments),
    (cst.Assign, assignment),
    (cst.AnnAssign, assignment),
    (cst.Expr, statement),
    (cst.Raise, statement),
]


def marked(source: str) -> str:
    """Returns the source with a call of `MARK` at the head of each function, with its place."""
    return ast.unparse(Marker().visit(ast.parse(source)))


class Marker(ast.NodeTransformer):
    """Marks functions by the same places as `Walk` names."""

    def __init__(self) -> None:
        self.place: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self.inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        place = ".".join([*self.place, node.name])
        head = 1 if ast.get_docstring(node) else 0
        self.inside(node)
        node.body[head:head] = ast.parse(f"{MARK}({place!r})").body
        return ast.fix_missing_locations(node)

    def inside(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.place.append(node.name)
        self.generic_visit(node)
        self.place.pop()
        return node
