"""Find what to serve by its name: `module:name` or `file.py:name`."""

from __future__ import annotations

import difflib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import aiohttp
import click
from aiohttp import web

import rxws
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure

__all__ = ["load", "user_failure"]

_MAX_NAMES = 20

# The code that calls a user's module, factory or application.
_CALLERS = (
    str(Path(rxws.__file__).parent),
    str(Path(aiohttp.__file__).parent),
    str(Path(import_module.__code__.co_filename).parent),
    str(Path(inspect.__file__).parent / "asyncio"),
    "<frozen ",
)


def load(target: str) -> Any:
    """Import a module, and return an attribute of it.

    Args:
        target: Such as `chat:room`, `shop.sockets:routes.chat` or `examples/chat.py:room`. Modules
            are also looked for in the current directory.

    Raises:
        click.UsageError: There is no such module or attribute.
        Failure: The module has raised an exception.
    """
    where, colon, name = target.rpartition(":")
    if not colon or os.sep in name:
        where, name = target, ""
    if not where:
        raise click.UsageError(f"{target!r} has no module: use MODULE:{name}.")
    is_file = where.endswith(".py") or os.sep in where
    module = _import_file(Path(where)) if is_file else _import_module(where, Path.cwd())
    if not name:
        found = _listed(_names_to_serve(module))
        raise click.UsageError(f"{target!r} has no name: use {where}:NAME. {where} has {found}.")
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise click.UsageError(_no_attribute(where, module, value, part)) from None
    return value


def user_failure(what: str, error: BaseException) -> Failure:
    """Return a failure with the traceback of the user's code."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_CALLERS):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return Failure(f"{what}\n{text.rstrip()}", ExitCode.USAGE)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*.py")]
        raise click.UsageError(
            f"there is no file {path}; looked in {path.parent.resolve()}."
            + _did_you_mean(path.name, near)
        )
    path = path.resolve()
    name, root = path.stem, path.parent
    while (root / "__init__.py").is_file():
        name, root = f"{root.name}.{name}", root.parent
    module = _import_module(name.removesuffix(".__init__"), root)
    if module.__file__ is None or not path.samefile(module.__file__):
        raise click.UsageError(
            f"{path} cannot be imported: another module has its name, {name!r} "
            f"({module.__file__ or 'built in'}). Rename the file."
        )
    return module


def _import_module(name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{name}.".startswith(f"{missing}."):  # an import in that module
            raise user_failure(f"{name} cannot be imported:", error) from error
        raise click.UsageError(_no_module(name, missing)) from None
    except (TypeError, ValueError) as error:
        if not name or name.startswith("."):  # as import_module reports it
            raise click.UsageError(f"{name!r} is no module: use module:name.") from error
        raise user_failure(f"{name} cannot be imported:", error) from error
    except Exception as error:
        raise user_failure(f"{name} cannot be imported:", error) from error


def _no_module(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    if not parent:
        places: Iterable[str] = sys.path
    elif hasattr(sys.modules[parent], "__path__"):
        places = sys.modules[parent].__path__
    else:  # `chat.room` for `chat:room`
        hint = f" Did you mean {parent}:{last}?" if hasattr(sys.modules[parent], last) else ""
        return f"there is no module {name!r}: {parent!r} is no package.{hint}"
    near = [each.name for each in pkgutil.iter_modules(places)]
    tried = dict.fromkeys(place or str(Path.cwd()) for place in places)
    lines = "".join(f"\n  {place}" for place in tried)
    return (
        f"there is no module {missing!r}.{_did_you_mean(last or missing, near, parent)} "
        f"Looked in:{lines}"
    )


def _no_attribute(where: str, module: ModuleType, value: Any, name: str) -> str:
    if value is not module:
        return f"{value!r:.100} has no {name!r}.{_did_you_mean(name, dir(value))}"
    place = f" ({module.__file__})" if module.__file__ else ""
    names = _names_to_serve(module)
    return (
        f"{where}{place} has no {name!r}; it has {_listed(names)}."
        f"{_did_you_mean(name, [*names, *vars(module)])}"
    )


def _names_to_serve(module: ModuleType) -> list[str]:
    """Return the names of what may be handlers, routes, applications or their factories."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, type)
        and (
            isinstance(value, web.Application | web.AbstractRouteDef | web.RouteTableDef)
            or (callable(value) and getattr(value, "__module__", "") == module.__name__)
        )
    ]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing to serve"
    return ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")


def _did_you_mean(name: str, names: Iterable[str], parent: str = "") -> str:
    near = difflib.get_close_matches(name, list(names), 1)
    return f" Did you mean {parent}{'.' if parent else ''}{near[0]}?" if near else ""
