"""Networks that a function of the user's own returns: ``package.module:factory``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import reason
from erf_tools.models.failures import not_a_network
from erf_tools.text import first_line


def call_factory(name: str) -> nn.Module:
    """Import a factory and return the network it makes.

    Raises:
        UsageError: there is no such module or function, or it returns something else.
        ErfToolsError: its code failed, or ended the program.
    """
    module_name, _, attribute = name.partition(":")
    folder = os.getcwd()
    # Unlike `python -m`, an installed command does not look for modules in the current folder.
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        imported = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"{name}: cannot import {module_name!r} ({first_line(error)})") from error
    except (Exception, SystemExit) as error:
        raise ErfToolsError(
            f"{name}: importing {module_name!r} failed ({reason(error)}); mend that, or see the "
            "traceback with --debug"
        ) from error
    factory: Callable[[], Any] | None = getattr(imported, attribute, None)
    if factory is None:
        raise UsageError(f"{name}: {module_name} has no {attribute!r}")
    if not callable(factory):
        raise UsageError(
            f"{name} is a {type(factory).__name__}, not a function; name one that takes no "
            "arguments and returns the network"
        )
    try:
        module = factory()
    except (Exception, SystemExit) as error:
        raise ErfToolsError(f"{name} failed: {reason(error)}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} returned {not_a_network(module)}")
    return module
