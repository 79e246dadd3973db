"""Functions of a recursion with one place multiplied: what a wrong coefficient would be.

In a function each term of a sum, each number, each entry of a map and each result is a place. The
function's syntax tree is edited and compiled, and its code exchanged while a context lasts.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap

BY = 0.1


class Alter(ast.NodeTransformer):
    """Multiply the `chosen`-th place of a function: a summand, a number, an entry, a result."""

    def __init__(self, chosen):
        self.chosen, self.seen, self.label = chosen, 0, None

    def scaled(self, node, label=None):
        self.seen += 1
        if self.seen - 1 != self.chosen:
            return node
        self.label = label or ast.unparse(node)
        return ast.BinOp(ast.Constant(1.0 + BY), ast.Mult(), node)

    def visit_BinOp(self, node):
        self.generic_visit(node)
        counted = any(isinstance(side, ast.Constant) for side in (node.left, node.right))
        if isinstance(node.op, ast.Add | ast.Sub) and not counted:  # i + 1 is an order
            node.left = self.scaled(node.left)
            node.right = self.scaled(node.right)
        return node

    def visit_Constant(self, node):
        if isinstance(node.value, float):
            return self.scaled(node)
        return node

    def visit_Assign(self, node):
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Subscript):
            label = f"{ast.unparse(node.targets[0])} = {ast.unparse(node.value)}"
            node.value = self.scaled(node.value, label)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.BinOp | ast.Name):
            node.value = self.scaled(node.value, f"return {ast.unparse(node.value)}")
        return node

    def visit_If(self, node):
        node.body = [self.visit(part) for part in node.body]  # conditions stay as they are
        return node


def plain(function):
    """The function behind a property."""
    return function.func if isinstance(function, functools.cached_property) else function


def syntax(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(plain(function))))
    tree.body[0].decorator_list = []
    tree.body[0].returns = None
    for argument in tree.body[0].args.args:
        argument.annotation = None
    return tree


@contextlib.contextmanager
def altered(function, chosen):
    """While inside, the `chosen`-th place of a function is multiplied; gives its label."""
    function = plain(function)
    tree, change = syntax(function), Alter(chosen)
    tree = ast.fix_missing_locations(change.visit(tree))
    scope = {}
    exec(compile(tree, function.__code__.co_filename, "exec"), function.__globals__, scope)  # noqa: S102
    before = function.__code__
    function.__code__ = scope[function.__name__].__code__
    try:
        yield change.label
    finally:
        function.__code__ = before


def places(function):
    change = Alter(-1)
    change.visit(syntax(function))
    return change.seen
