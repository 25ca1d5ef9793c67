"""Networks that a function of the user's own returns.

``package.module:factory`` or ``file.py:factory``, with arguments as in ``file.py:build?depth=50``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import reason
from erf_tools.models.code import code_of
from erf_tools.models.failures import not_a_network
from erf_tools.models.own_modules import Imported, own_modules
from erf_tools.models.prefixes import LIBRARIES
from erf_tools.text import first_line


def call_factory(name: str) -> tuple[nn.Module, str | None]:
    """Import a factory as its files are now, and return the network it makes.

    Returns:
        The network, and a digest of the code of the user's own that was imported for it.

    Raises:
        UsageError: there is no such module, file or function, its arguments make no sense, or it
            returns something else.
        ErfToolsError: its code failed, or ended the program.
    """
    arguments = _arguments(name, name.partition("?")[2])
    with own_modules(code_of(name)) as imported:
        return _called(name, arguments, imported), imported.sha256


def _called(name: str, arguments: dict[str, Any], own: Imported) -> nn.Module:
    place, _, attribute = name.partition("?")[0].rpartition(":")
    is_file = place.endswith(".py")
    try:
        imported = _from_file(name, place, own) if is_file else importlib.import_module(place)
    except ImportError as error:
        near = get_close_matches(place, LIBRARIES, 1)
        meant = f"; did you mean {near[0]}:{attribute}?" if near else ""
        raise UsageError(f"{name}: cannot import {place!r} ({first_line(error)}){meant}") from error
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise ErfToolsError(
            f"{name}: importing {place!r} failed ({reason(error)}); mend that, or see the "
            "traceback with --debug"
        ) from error
    factory: Callable[..., Any] | None = getattr(imported, attribute, None)
    if factory is None:
        raise UsageError(f"{name}: {place} has no {attribute!r}")
    if not callable(factory):
        raise UsageError(
            f"{name} is a {type(factory).__name__}, not a function; name one that returns the "
            "network"
        )
    try:
        module = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise ErfToolsError(f"{name} failed: {reason(error)}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} returned {not_a_network(module)}")
    return module


def _arguments(name: str, query: str) -> dict[str, Any]:
    """Return what stands behind the question mark of a name: JSON values, which nothing runs.

    Raises:
        UsageError: it is of another form.
    """
    arguments: dict[str, Any] = {}
    rest = query
    while rest:
        key, given, text = rest.partition("=")
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            given = ""
        if not given or not key.isidentifier() or text[end : end + 1] not in ("", "&"):
            raise UsageError(
                f"{name}: {rest!r} is no argument; write NAME=VALUE with a value of JSON, as in "
                'depth=50, sizes=[1,2] or kind="wide", and & between several'
            )
        if key in arguments:
            raise UsageError(f"{name}: {key} is given twice; give it once")
        arguments[key], rest = value, text[end + 1 :]
    return arguments


def _from_file(name: str, place: str, imported: Imported) -> ModuleType:
    """Import a file, which may import others beside it.

    Raises:
        UsageError: there is no such file.
    """
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"{name}: there is no file {place!r}")
    # Two files may have one name; what a network is copied with looks its module up.
    # A file that was edited since, or imports one that was, is another module.
    own = f"{path.stem}_{sha256(f'{path} {imported.code.sha256}'.encode()).hexdigest()[:8]}"
    if own in imported.modules:
        return imported.modules[own]
    spec = importlib.util.spec_from_file_location(own, path, loader=imported.loader(own, str(path)))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[own] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
