"""Compute the digest of the source code that decides the content of an artifact.

The function that writes an artifact names the project modules that it uses. Their import closure is
every project module that can run while the artifact is written. The digest covers the name of each
module and its source without comments and docstrings, so that a changed comment rebuilds nothing.

Only import statements are followed. A module that is imported by a computed name is not found.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import hashlib
import importlib
import importlib.util
import types
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

#: Packages whose modules count. A closure also counts the packages of its starting modules.
PROJECT = ("recsys_assets", "feature_repo")
#: Modules that decide when and where an artifact is written, not its content. Of these, only
#: functions that the writer calls are followed.
ORCHESTRATION = tuple(
    f"recsys_assets.{name}" for name in ("definitions", "defs", "operations", "orchestration")
)

_PARSES = 5  # attempts, where other threads disturb


class FingerprintError(RuntimeError):
    """The code of an artifact cannot be found; the message names the remedy."""


def code_of(write: Callable[..., Any], kind: str) -> str:
    """Return the digest of the code that a writing function uses.

    Args:
        write: the function that writes the artifact, usually a lambda in an asset.
        kind: kind of the artifact, for the error message.

    Raises:
        FingerprintError: the function uses no module of the project.
    """
    modules = modules_of(write)
    if not modules:
        raise FingerprintError(
            f"{kind}: its writing function {getattr(write, '__qualname__', write)} uses no "
            f"module of {' or '.join(PROJECT)}, so no code change would rebuild it; let it call "
            "a function of lib"
        )
    return digest(*sorted(modules))


def digest(*modules: str) -> str:
    """Return the digest of the import closure of these modules.

    Raises:
        ModuleNotFoundError: a module has no source.
    """
    return _digest(modules)


def closure(*modules: str) -> list[str]:
    """Return these modules and all project modules that they import, sorted by name.

    Imports inside functions count too.

    Raises:
        ModuleNotFoundError: one of the given modules has no source.
    """
    for module in modules:
        if _source_of(module) is None:
            raise ModuleNotFoundError(f"source of {module} not found; check the module's name")
    roots = {*PROJECT, *(module.partition(".")[0] for module in modules)}
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] not in roots or _source_of(module) is None:
            continue
        found.add(module)
        for name in _read(module)[0]:  # importing a.b.c runs a, a.b and a.b.c
            waiting += [name.rsplit(".", above)[0] for above in range(name.count(".") + 1)]
    return sorted(found)


# --- modules that a function uses -----------------------------------------------------------------
def modules_of(write: Callable[..., Any]) -> set[str]:
    """Return the project modules that a function uses.

    They are found in its code, globals, closure and defaults. The function itself and functions of
    ORCHESTRATION are followed. Instances are ignored.
    """
    found: set[str] = set()
    seen: dict[int, Any] = {}  # keeps the values alive, so that ids stay unique
    waiting: list[Any] = []
    if isinstance(write, types.FunctionType) and not _counts(write.__module__):
        waiting += _used_by(write)
    else:
        waiting.append(write)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, functools.partial):
            waiting += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, types.MethodType):
            waiting += [value.__func__, type(value.__self__)]
        elif isinstance(value, types.ModuleType):
            if _counts(value.__name__):
                found.add(value.__name__)
        elif isinstance(value, (types.FunctionType, type)) or hasattr(value, "__wrapped__"):
            if _counts(value.__module__):
                found.add(value.__module__)
            elif _is_orchestration(value.__module__):
                waiting += _parts_of(value)
    return found


def _counts(module: str | None) -> bool:
    return (
        bool(module) and str(module).partition(".")[0] in PROJECT and not _is_orchestration(module)
    )


def _is_orchestration(module: str | None) -> bool:
    return any(module == name or str(module).startswith(f"{name}.") for name in ORCHESTRATION)


def _parts_of(value: Any) -> list[Any]:
    if isinstance(value, types.FunctionType):
        return _used_by(value)
    if isinstance(value, type):
        return [member for member in vars(value).values() if isinstance(member, types.FunctionType)]
    return [value.__wrapped__]


def _used_by(function: types.FunctionType) -> list[Any]:
    """Return the values that a function uses: globals, closure, defaults and imports."""
    names: set[str] = set()
    imported: list[Any] = []
    for code in _codes(function.__code__):
        names |= set(code.co_names)
        imported += _imported_by(code, function.__globals__.get("__package__"))
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    values = [
        *(function.__globals__[name] for name in names if name in function.__globals__),
        *_enclosed(function),
        *defaults,
        *imported,
    ]
    # packages and orchestration modules are used through attributes, which are among the names
    return values + [
        getattr(value, name)
        for value in values
        if isinstance(value, types.ModuleType)
        and (hasattr(value, "__path__") or _is_orchestration(value.__name__))
        and _of_project(value.__name__)
        for name in names
        if hasattr(value, name)
    ]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _imported_by(code: types.CodeType, package: str | None) -> Iterator[Any]:
    """Yield the project modules and orchestration attributes that some code imports."""
    arguments: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, names = arguments[-2:]
            module = importlib.util.resolve_name("." * level + instruction.argval, package)
            if _of_project(module):
                yield from _members(module, names or ())
        arguments.append(instruction.argval)


def _members(module: str, names: Iterable[str]) -> Iterator[Any]:
    submodules = {name for name in names if _source_of(f"{module}.{name}")}
    yield from (_named(f"{module}.{name}") for name in submodules)
    if _is_orchestration(module):
        yield from (
            getattr(importlib.import_module(module), name) for name in set(names) - submodules
        )
    else:
        yield _named(module)


def _named(module: str) -> types.ModuleType:
    """Return a module of this name; one outside ORCHESTRATION is an empty stand-in."""
    return (
        importlib.import_module(module) if _is_orchestration(module) else types.ModuleType(module)
    )


def _of_project(module: str) -> bool:
    return module.partition(".")[0] in PROJECT


def _enclosed(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # the cell has no value yet
            yield cell.cell_contents


# --- imports and sources --------------------------------------------------------------------------
@lru_cache(maxsize=1024)
def _digest(modules: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for module in closure(*modules):
        found.update(f"{module} {_read(module)[1]}\n".encode())
    return found.hexdigest()


@lru_cache(maxsize=4096)
def _source_of(module: str) -> Path | None:
    """Return the path of a module's source without importing it; None if it has none."""
    root, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except ValueError:  # __main__
        return None
    if spec is None:
        return None
    if not parts:
        return Path(spec.origin) if spec.origin and spec.has_location else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *parts)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
    return None


@lru_cache(maxsize=4096)
def _read(module: str) -> tuple[frozenset[str], str]:
    """Return the names that a module may import, and the digest of its source."""
    path = _source_of(module)
    assert path is not None, module
    tree = parsed(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(_imported_names(tree, package) | {module}), hashlib.sha256(
        _plain(tree).encode()
    ).hexdigest()


def parsed(path: Path) -> ast.Module:
    """Parse a module.

    CPython 3.11 counts the depth of a tree per process. If another thread parses at the same time,
    the count may be wrong, which raises SystemError; the source is right, so it is parsed again.
    """
    source = path.read_bytes()
    for _ in range(_PARSES - 1):
        try:
            return ast.parse(source, filename=str(path))
        except SystemError:
            continue
    return ast.parse(source, filename=str(path))


def _imported_names(tree: ast.Module, package: str) -> set[str]:
    """Return all imported names, except those under ``if TYPE_CHECKING``."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _is_type_checking(test: ast.expr) -> bool:
    return (
        test.id
        if isinstance(test, ast.Name)
        else test.attr
        if isinstance(test, ast.Attribute)
        else ""
    ) == "TYPE_CHECKING"


def _plain(tree: ast.Module) -> str:
    """Return a source without comments, layout, docstrings and other bare strings."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [one for one in node.body if not _is_text(one)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def forget() -> None:
    """Clear the caches, so that sources changed by this process are read again."""
    for cached in (_digest, _source_of, _read):
        cached.cache_clear()
