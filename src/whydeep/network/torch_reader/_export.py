"""The graph that ``torch.export`` makes of a module, and where its operations stand in the code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

from whydeep.errors import UnsupportedError
from whydeep.network.torch_reader._draft import Refusal
from whydeep.network.torch_reader._operations import READERS

__all__ = [
    "UNKNOWN",
    "batch_of",
    "export",
    "module_path",
    "name_of",
    "needed",
    "refused",
    "user_line",
]

UNKNOWN = "it is not one of the operations that can be read"


def export(torch: Any, module: Any, example: Any) -> Any:
    """The graph of a module, without operations that write in place."""
    inputs = example if len(example) > 1 else torch.cat([example, example])
    with _quiet(torch), torch.enable_grad():
        try:
            try:
                exported = torch.export.export(module, (inputs,))
            except Exception:
                if len(example) > 1:
                    raise
                exported = torch.export.export(module, (example,))
        except Exception as error:
            raise _not_exported(module, error) from error
        # A write into a part of a value reaches the output by no edge of the graph.
        written = any(_writes(node) for node in exported.graph.nodes)
        _check_gradients(
            exported, list(exported.graph.nodes) if written else needed(exported.graph)
        )
        if written:
            exported = exported.run_decompositions({})
    return exported


@contextlib.contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """No log, no warnings, no fused encoder layers while a module is traced; put back after."""
    fused = torch.backends.mha.get_fastpath_enabled()
    before = logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        torch.backends.mha.set_fastpath_enabled(fused)


def _not_exported(module: Any, error: Exception) -> UnsupportedError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UnsupportedError(
        "torch.export can't trace this module.",
        received=f"{type(module).__name__}: {type(error).__name__}: {' '.join(lines[:1])[:300]}",
        needed="a module that takes one tensor, without branches that depend on its values",
        cause=user_line(str(error)),
        suggestion="try torch.export.export(module, (example,)) for the whole message",
    )


def needed(graph: Any) -> list[Any]:
    """The nodes of a graph that its output depends on, in order."""
    needed: set[Any] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return [node for node in graph.nodes if node in needed]


def _writes(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def batch_of(exported: Any) -> int:
    """How many examples the graph was traced with."""
    names = set(exported.graph_signature.user_inputs)
    found = [n for n in exported.graph.nodes if n.op == "placeholder" and n.name in names]
    return int(found[0].meta["val"].shape[0])


def _check_gradients(exported: Any, nodes: list[Any]) -> None:
    """Refuse values that the module cuts off from their gradients: their tangent kernel differs."""
    signature = exported.graph_signature
    varying = {*signature.user_inputs, *signature.inputs_to_parameters}
    for node in nodes:
        depends = node.name in varying or any(n.name in varying for n in node.all_input_nodes)
        if not depends:
            continue
        varying.add(node.name)
        name = name_of(node)
        if node.op == "call_function" and name in (
            "detach",
            "detach_",
            "wrap_with_set_grad_enabled",
        ):
            raise refused(node, Refusal("it stops gradients", "the same without detach or no_grad"))


def name_of(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return schema.name.rpartition("::")[2]
    return getattr(node.target, "__name__", str(node.target))


def user_line(trace: str) -> str:
    """The last line of the user's own code in a trace."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]+\n?\s*([^\n]*)', trace)
    own = [f for f in frames if f"torch{os.sep}" not in f[0] and not f[0].startswith("<")]
    if not own:
        return ""
    path, line, code = own[-1]
    return f"{os.path.basename(path)} line {line}: {code.strip()[:100]}"  # noqa: PTH119 -- text


def module_path(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""


def refused(node: Any, refusal: Refusal) -> UnsupportedError:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    where = ""
    if stack:
        path, kind = stack[-1]
        kind = kind if isinstance(kind, str) else kind.__qualname__
        where = f" in {path or 'the module itself'} ({kind.rpartition('.')[2]})"
    name = name_of(node)
    known = (
        ""
        if str(refusal) != UNKNOWN
        else "one of " + ", ".join(sorted(n for n in READERS if n[0] != "_"))
    )
    return UnsupportedError(
        f"The operation {name} can't be read here: {refusal}.",
        received=f"{name}{where}",
        needed=known,
        cause=user_line(node.meta.get("stack_trace") or ""),
        suggestion=refusal.suggestion,
    )
