"""Translation: the formula of a reference, which is Python, as JavaScript that gives the same values in a browser.

A formula is arithmetic: names, numbers, comparisons, branches, loops, and the functions of an mpmath context. What goes
beyond that is refused, and never guessed at.
"""

import ast
import functools
import inspect
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from textwrap import dedent, indent
from types import FunctionType
from typing import Any, Final

METHODS: Final = ("multiplier", "rate")
"""The methods of a reference that are its formula: multiples of the base learning rate, or rates."""

FUNCTIONS: Final = frozenset(
    [
        "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "e", "exp", "expm1", "fabs", "floor", "inf", "ln",
        "log", "log10", "log1p", "mpf", "pi", "power", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
    ]
)  # fmt: skip
"""What `model.js` has of an mpmath context."""

BUILT_IN: Final = frozenset(
    ["abs", "bool", "divmod", "enumerate", "float", "int", "len", "list", "max", "min", "next", "range", "sum", "zip"]
)
"""What `model.js` has of Python's own functions."""

OF_DICTS: Final = frozenset({"items", "keys", "values"})
"""Methods of dicts."""

_BINARY: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_CALLED: Final = {ast.FloorDiv: "py.quotient", ast.Mod: "py.remainder", ast.Pow: "Math.pow"}
_COMPARED: Final = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}
_RESERVED: Final = frozenset(
    [
        "arguments", "await", "case", "catch", "class", "const", "debugger", "default", "delete", "do", "enum",
        "eval", "export", "extends", "function", "implements", "instanceof", "interface", "let", "new", "package",
        "private", "protected", "public", "static", "super", "switch", "this", "throw", "typeof", "var", "void",
        "mp", "py", "self", "Math", "Number", "Infinity", "NaN", "undefined", "null", "true", "false",
    ]
)  # fmt: skip


class UntranslatableError(Exception):
    """A formula has something that is not translated; the message says what."""


@functools.cache
def translated(reference: type) -> str:
    """The methods of a reference as one JavaScript expression, an object of functions.

    Its `multiplier(self, t, mp)` or `rate(self, base_lr, t, mp)` is the formula. Its `check(self)`, if there is one,
    throws where the reference refuses its hyperparameters. `self` is an object of these.

    Raises:
        UntranslatableError: the formula, or a function that it calls, has something that is not translated.
    """
    whole = _Whole(reference)
    for name in METHODS:
        if hasattr(reference, name):
            whole.method(name)
    if "__post_init__" in vars(reference):
        whole.method("__post_init__")
    names = [name for name in whole.done if name in METHODS]
    if not names:
        raise UntranslatableError("it has no formula")
    offered = [*names, *(["check: __post_init__"] if "__post_init__" in whole.done else [])]
    body = "\n".join([*whole.done.values(), f"return {{{', '.join(offered)}}};"])
    return f"(() => {{\n{indent(body, '  ')}\n}})()"


class _Whole:
    """All functions that a formula needs, each translated once."""

    def __init__(self, reference: type) -> None:
        self.reference = reference
        self.fields = {each.name for each in fields(reference)}
        self.done: dict[str, str] = {}
        self.functions: dict[int, str] = {}

    def method(self, name: str) -> str:
        """Translate a method of the reference, and return what it is called."""
        called = _called(name)
        if called not in self.done:
            found = inspect.getattr_static(self.reference, name, None)
            plain = found.__func__ if isinstance(found, staticmethod) else found
            plain = plain.fget if isinstance(plain, property) else plain
            self.done[called] = ""  # it may call itself
            self.done[called] = self._function(plain, called, bound=not isinstance(found, staticmethod))
        return called

    def function(self, found: FunctionType) -> str:
        """Translate a function of a module, and return what it is called."""
        if id(found) not in self.functions:
            name = f"{found.__name__}_{len(self.functions)}"
            self.functions[id(found)] = name
            self.done[name] = ""
            self.done[name] = self._function(found, name, bound=False)
        return self.functions[id(found)]

    def _function(self, found: Any, name: str, *, bound: bool) -> str:
        if not isinstance(found, FunctionType):
            raise UntranslatableError(f"{name} is not a function")
        try:
            tree = ast.parse(dedent(inspect.getsource(found))).body[0]
        except (OSError, TypeError, SyntaxError) as error:
            raise UntranslatableError(f"the source of {name} is not there") from error
        if not isinstance(tree, ast.FunctionDef):
            raise UntranslatableError(f"{name} is not a plain function")
        return _Function(self, found, tree, bound=bound).text(name)


class _Function:
    """One function on its way into JavaScript."""

    def __init__(self, whole: _Whole, found: FunctionType, tree: ast.FunctionDef, *, bound: bool) -> None:
        self.whole, self.tree, self.bound = whole, tree, bound
        self.outside = inspect.getclosurevars(found)
        arguments = tree.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults:
            raise UntranslatableError(f"{tree.name} has optional arguments")
        self.arguments = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        self.self = self.arguments[0] if bound else None
        stored = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        self.local = {*self.arguments, *stored}
        self.yields = any(isinstance(node, ast.Yield) for node in ast.walk(tree))

    def text(self, name: str) -> str:
        """The whole function."""
        head = ", ".join("self" if each == self.self else self.name(each) for each in self.arguments)
        declared = sorted(self.local - {*self.arguments})
        let = [f"let {', '.join(map(self.name, declared))};"] if declared else []
        lines = [*let, *self.block(self.tree.body)]
        return f"function{'*' if self.yields else ''} {name}({head}) {{\n{indent(chr(10).join(lines), '  ')}\n}}"

    def name(self, name: str) -> str:
        """A local name, which must not be a word of JavaScript's or of the page's."""
        return name if name == "mp" else _called(name)

    def block(self, body: Sequence[ast.stmt]) -> list[str]:
        """Statements, one or more lines each."""
        return [line for statement in body for line in self.statement(statement)]

    def braced(self, head: str, body: Sequence[ast.stmt]) -> list[str]:
        """A head with a block."""
        return [f"{head} {{", *(f"  {line}" for line in self.block(body)), "}"]

    def statement(self, node: ast.stmt) -> Iterator[str]:
        """The lines of a statement."""
        match node:
            case ast.Return(value=value):
                yield f"return {self.value(value) if value else 'null'};"
            case ast.Assign(targets=[target], value=value):
                yield f"{self.target(target)} = {self.value(value)};"
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield f"{self.target(target)} = {self.value(value)};"
            case ast.AugAssign(target=ast.Name() as target, op=operator, value=value):
                left = ast.copy_location(ast.Name(target.id, ast.Load()), target)
                yield f"{self.target(target)} = {self.value(ast.BinOp(left, operator, value))};"
            case ast.If(test=test, body=body, orelse=otherwise):
                yield from self.braced(f"if ({self.truth(test)})", body)
                if otherwise:
                    yield from self.braced("else", otherwise)
            case ast.For(target=target, iter=over, body=body, orelse=[]):
                yield from self.braced(f"for ({self.target(target)} of py.list({self.value(over)}))", body)
            case ast.While(test=test, body=body, orelse=[]):
                yield from self.braced(f"while ({self.truth(test)})", body)
            case ast.Raise(exc=ast.Call(args=[message], keywords=[])):
                yield f"throw new Error({self.message(message)});"
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Yield(value=ast.expr() as value)):
                yield f"yield {self.value(value)};"
            case ast.Expr(value=ast.Call() as value):
                yield f"{self.value(value)};"
            case ast.Break():
                yield "break;"
            case ast.Continue():
                yield "continue;"
            case _:
                raise UntranslatableError(f"{self.tree.name} has a statement '{_shown(node)}'")

    def message(self, node: ast.expr) -> str:
        """What an error says; its numbers need no format."""
        if not isinstance(node, ast.JoinedStr):
            return self.value(node)
        parts = (part.value if isinstance(part, ast.FormattedValue) else part for part in node.values)
        return f"[{', '.join(map(self.value, parts))}].join('')"

    def target(self, node: ast.expr) -> str:
        """What is assigned to."""
        match node:
            case ast.Name(id=name):
                return self.name(name)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                kept = ["" if isinstance(each, ast.Name) and each.id == "_" else self.target(each) for each in elements]
                return f"[{', '.join(kept)}]"
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self.self:
                return f"self.{attribute}"
        raise UntranslatableError(f"{self.tree.name} assigns to '{_shown(node)}'")

    def truth(self, node: ast.expr) -> str:
        """An expression as a condition."""
        if isinstance(node, ast.BoolOp):
            sign = " && " if isinstance(node.op, ast.And) else " || "
            return f"({sign.join(map(self.truth, node.values))})"
        text = self.value(node)
        return text if isinstance(node, ast.Compare) else f"py.bool({text})"

    def value(self, node: ast.expr) -> str:
        """An expression; whatever binds in another order than in Python is in parentheses."""
        match node:
            case ast.Constant(value=bool() | str() | None as value):
                return json.dumps(value).replace("<", "\\u003c")
            case ast.Constant(value=int() | float() as value):
                return _number(value)
            case ast.Name(id=name):
                return (
                    "self" if name == self.self else self.name(name) if name in self.local else self.from_outside(name)
                )
            case ast.Attribute(value=owner, attr=attribute):
                return self.attribute(owner, attribute)
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                return f"[{', '.join(map(self.value, elements))}]"
            case ast.Dict(keys=keys, values=values):
                pairs = zip(map(self.value, filter(None, keys)), map(self.value, values), strict=True)
                return f"new Map([{', '.join(f'[{key}, {value}]' for key, value in pairs)}])"
            case ast.DictComp(key=key, value=value, generators=[each]):
                return f"new Map({self.comprehension(ast.Tuple([key, value]), each)})"
            case ast.BinOp(left=left, op=operator, right=right):
                pair = self.value(left), self.value(right)
                if function := _CALLED.get(type(operator)):
                    return f"{function}({pair[0]}, {pair[1]})"
                if sign := _BINARY.get(type(operator)):
                    return f"({pair[0]} {sign} {pair[1]})"
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as operator, operand=operand):
                return f"({'-' if isinstance(operator, ast.USub) else '+'}{self.value(operand)})"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"(!{self.truth(operand)})"
            case ast.BoolOp(op=operator, values=values):
                *before, text = map(self.value, values)
                for left_ in reversed(before):
                    text = f"py.{'and' if isinstance(operator, ast.And) else 'or'}({left_}, () => {text})"
                return text
            case ast.Compare(left=left, ops=operators, comparators=others):
                return self.comparison([left, *others], operators)
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return f"({self.truth(test)} ? {self.value(body)} : {self.value(otherwise)})"
            case ast.Subscript(value=owner, slice=ast.expr() as index) if not isinstance(index, ast.Slice):
                return f"py.item({self.value(owner)}, {self.value(index)})"
            case ast.GeneratorExp(elt=item, generators=[each]) | ast.ListComp(elt=item, generators=[each]):
                return self.comprehension(item, each)
            case ast.JoinedStr(values=parts):
                return f"[{', '.join(map(self.value, parts))}].join('')"
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self.value(value)
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self.call(function, arguments)
            case ast.Call(func=ast.Name(id="zip") as function, args=arguments, keywords=[ast.keyword(arg="strict")]):
                return self.call(function, arguments)
        raise UntranslatableError(f"{self.tree.name} has '{_shown(node)}'")

    def comprehension(self, item: ast.expr, each: ast.comprehension) -> str:
        """A list of what an item becomes for each element."""
        variable, over = self.target(each.target), f"py.list({self.value(each.iter)})"
        kept = "".join(f".filter(({variable}) => {self.truth(test)})" for test in each.ifs)
        return f"{over}{kept}.map(({variable}) => {self.value(item)})"

    def comparison(self, values: list[ast.expr], operators: list[ast.cmpop]) -> str:
        """A chain of comparisons."""
        texts = [self.value(each) for each in values]
        parts = []
        for left, operator, right in zip(texts, operators, texts[1:], strict=False):
            match operator:
                case ast.Is():
                    parts.append(f"(({left} ?? null) === {right})")
                case ast.IsNot():
                    parts.append(f"(({left} ?? null) !== {right})")
                case ast.In():
                    parts.append(f"py.contains({right}, {left})")
                case ast.NotIn():
                    parts.append(f"!py.contains({right}, {left})")
                case _:
                    parts.append(f"({left} {_COMPARED[type(operator)]} {right})")
        return parts[0] if len(parts) == 1 else f"({' && '.join(parts)})"

    def call(self, function: ast.expr, arguments: list[ast.expr]) -> str:
        """A call of a method, of a function of the module, or of one that the page has."""
        given = [self.value(each) for each in arguments]
        match function:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self.self:
                static = isinstance(inspect.getattr_static(self.whole.reference, attribute, None), staticmethod)
                return f"{self.whole.method(attribute)}({', '.join(given if static else ['self', *given])})"
            case ast.Name(id=name) if name not in self.local and name in self.outside.builtins and name in BUILT_IN:
                return f"py.{name}({', '.join(given)})"
            case ast.Name(id="getattr") if len(arguments) == 2 and given[0] == "self":
                return f"self[{given[1]}]"
            case ast.Attribute(value=ast.Constant(value=str()) as separator, attr="join"):
                return f"{given[0]}.join({self.value(separator)})"
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in self.local and attribute in OF_DICTS:
                return f"py.{attribute}({self.value(function.value)})"
            case ast.Name(id=name) if name not in self.local:
                found = self.outside.globals.get(name)
                if isinstance(found, FunctionType):
                    return f"{self.whole.function(found)}({', '.join(given)})"
            case ast.Attribute(value=owner, attr=attribute) if attribute in FUNCTIONS:
                return f"{self.attribute(owner, attribute)}({', '.join(given)})"
        raise UntranslatableError(f"{self.tree.name} calls '{_shown(function)}'")

    def attribute(self, owner: ast.expr, attribute: str) -> str:
        """A hyperparameter, a property or a constant of the reference, or something of an mpmath context or of math."""
        if not isinstance(owner, ast.Name):
            raise UntranslatableError(f"{self.tree.name} has '{_shown(owner)}.{attribute}'")
        if owner.id == self.self:
            found = inspect.getattr_static(self.whole.reference, attribute, None)
            if isinstance(found, property):
                return f"{self.whole.method(attribute)}(self)"
            if attribute in self.whole.fields:
                return f"self.{attribute}"
            if isinstance(found, int | float):
                return _number(found)
        is_context = owner.id in self.local or self.outside.globals.get(owner.id) is math
        if is_context and attribute in FUNCTIONS:
            return f"mp.{attribute}"
        raise UntranslatableError(f"{self.tree.name} has '{owner.id}.{attribute}'")

    def from_outside(self, name: str) -> str:
        """A constant of the module."""
        found = self.outside.globals.get(name, self.outside.nonlocals.get(name))
        if isinstance(found, int | float):
            return _number(found)
        raise UntranslatableError(f"{self.tree.name} has '{name}'")


def _called(name: str) -> str:
    """A name as JavaScript may have it."""
    return f"{name}$" if name in _RESERVED else name


def _number(value: float) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if not abs(value) < 2**1000:
        raise UntranslatableError(f"a number is {value}")
    return f"({value!r})" if value < 0 else repr(value)


def _shown(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:60]
