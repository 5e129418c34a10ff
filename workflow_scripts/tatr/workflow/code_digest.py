"""A digest of the code that a step runs: exactly the project's modules it imports, as syntax trees.

Comments, docstrings, formatting and file times do not count; any other edit of a module changes the digest of the
steps that import it, directly or through other modules, and of no others.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tatr.errors import TatrError

SCRIPTS = Path(__file__).resolve().parents[2]
"""`workflow_scripts/`, the root that the commands and the package are imported from."""


@cache
def code_digest(*modules: str) -> str:
    """Digest of the given modules (dotted, relative to `workflow_scripts/`) and of all they import from there."""
    digest = hashlib.sha256()
    for name in sorted(closure(modules)):
        digest.update(f"{name}\0{_tree(name)}\0".encode())
    return digest.hexdigest()[:16]


def closure(modules: Iterable[str]) -> set[str]:
    """The given modules and every project module they import, at the top or inside functions."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached.add(name)
            waiting.extend(_imports(name))
    return reached


@cache
def _imports(name: str) -> frozenset[str]:
    # `import a.b` also runs a/__init__.py; `from a import b` may mean a module or a name in one: try both.
    named: list[str] = []
    for node in _statements(_parse(name)):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    with_parents = {".".join(parts[: i + 1]) for n in named for parts in [n.split(".")] for i in range(len(parts))}
    return frozenset(n for n in with_parents if n and _file(n) is not None)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    # Not `ast.walk`: every job pays for this, and nine of ten nodes are parts of expressions, which import nothing.
    for block in ("body", "handlers", "cases", "orelse", "finalbody"):
        for statement in getattr(node, block, ()):
            yield statement
            yield from _statements(statement)


@cache
def _parse(name: str) -> ast.Module:
    path = _file(name)
    if path is None:
        raise ModuleNotFoundError(f"no module '{name}' in {SCRIPTS}")
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or null bytes
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise TatrError(f"{path}{line}: not Python ({error}); mend it and run again") from None


def _file(name: str) -> Path | None:
    stem = SCRIPTS.joinpath(*name.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _tree(name: str) -> str:
    texts: list[str] = []
    _dump(_parse(name), texts)
    return "".join(texts)


def _dump(node: object, texts: list[str]) -> None:
    # Not `ast.dump`: its text differs between Python versions. Empty fields are left out, as newer versions add some.
    # Into a list, as every job pays for this: generators within generators take twice as long.
    if isinstance(node, ast.AST):
        texts.append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(node, ast.JoinedStr):
                value = _joined(node.values)
            if value is not None and value != [] and field not in ("type_comment", "kind"):
                texts.append(f" {field}=")
                _dump(value, texts)
        texts.append(")")
    elif isinstance(node, list):
        for item in node:
            if not _is_docstring(item):
                _dump(item, texts)
                texts.append(",")
    else:
        texts.append(ascii(node))  # what `repr` escapes depends on the Unicode version


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """An f-string's parts. How text between braces is cut, and whether empty text counts, depends on the version."""
    found: list[ast.expr] = []
    for part in parts:
        last = found[-1] if found else None
        if not isinstance(part, ast.Constant):
            found.append(part)
        elif isinstance(last, ast.Constant):
            found[-1] = ast.Constant(str(last.value) + str(part.value))
        elif part.value:
            found.append(part)
    return found


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
