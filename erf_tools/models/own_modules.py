"""The modules that a factory imports: each has its own, as they are on disk when it is imported.

Python keeps a module by its name, so that a second network whose file says ``from layers import
Block`` would be built from the first one's ``layers``, and an edited one from what it was before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from erf_tools.errors import ErfToolsError
from erf_tools.files import file_sha256
from erf_tools.models.code import FactoryCode, is_own_code, joint_sha256


@dataclass
class Imported(MetaPathFinder):
    """What one state of a factory's code has imported.

    Attributes:
        code: the factory's code.
        modules: of the user's own, by their names.
        read: the SHA-256 of their files as they were imported, by path.
    """

    code: FactoryCode
    modules: dict[str, ModuleType] = field(default_factory=dict)
    read: dict[Path, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str | None:
        """A digest of all of the user's own code that the factory has run."""
        return joint_sha256({**self.code.digests, **self.read})

    @property
    def names(self) -> set[str]:
        """Names of modules that may be another network's as well, and of what these are in."""
        names = {*self.modules, *filter(_is_free, self.code.modules)}
        inside = {name.rpartition(".")[0] for name in names}
        return names | inside - {""}

    @property
    def is_current(self) -> bool:
        """Whether what was imported is still what its files say."""
        return all(file.is_file() and file_sha256(file) == own for file, own in self.read.items())

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the user's own modules, and note what is read of them."""
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if (
                    spec.origin
                    and is_own_code(spec.origin)
                    and type(spec.loader) is SourceFileLoader
                ):
                    spec.loader = self.loader(fullname, spec.origin)
                return spec
        return None

    def loader(self, name: str, file: str) -> SourceFileLoader:
        """Return what imports a file from its source."""
        return _FromSource(name, file, self)


class _FromSource(SourceFileLoader):
    """Imports what a file says now: compiled code may be of one that was edited in that second."""

    def __init__(self, name: str, file: str, imported: Imported) -> None:
        super().__init__(name, file)
        self._imported = imported

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        self._imported.read[Path(self.path).resolve()] = sha256(source).hexdigest()
        found: CodeType = self.source_to_code(source, self.path)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._imported.modules[module.__name__] = module
        super().exec_module(module)


class _SeveralModules(ModuleType):
    """Stands where networks have different modules of one name, for what is imported late."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ErfToolsError(
            f"networks have different modules of the name {self.__name__!r}, and one of them is "
            "imported while a network runs: measure each network in a command of its own, or "
            "import the module at the top of its file"
        )


_all: dict[tuple[Path, str, str | None], Imported] = {}
_shown: list[Imported] = []  # the last, whose modules and folder Python finds


@contextmanager
def own_modules(code: FactoryCode) -> Iterator[Imported]:
    """Have the modules of a factory imported inside, and no other network's of the same names.

    Those that were imported for the same code before are taken again. Outside, names that stand for
    different modules of several networks refuse to be imported.

    Args:
        code: the factory's.
    """
    key = code.folder, code.place, code.sha256
    imported = _all.get(key)
    if imported is None or not imported.is_current:
        imported = Imported(code)
    _hide(imported)
    importlib.invalidate_caches()
    sys.modules.update(imported.modules)
    sys.path.insert(0, str(code.folder))
    sys.meta_path.insert(0, imported)
    try:
        yield imported
    except BaseException:
        for name in imported.modules:
            sys.modules.pop(name, None)
        _all.pop(key, None)
        raise
    finally:
        sys.meta_path.remove(imported)
        _shown[:] = [imported]
    there = {name: sys.modules[name] for name in imported.names if name in sys.modules}
    imported.modules.update(there)
    others = [other for other in _all.values() if other is not imported]
    _all[key] = imported
    for name, module in imported.modules.items():
        if any(other.modules.get(name, module) is not module for other in others):
            sys.modules[name] = _SeveralModules(name)


def _hide(imported: Imported) -> None:
    """Have Python forget the modules of other factories, and what is imported now."""
    names = imported.names
    for shown in _shown:
        names |= shown.names
        with suppress(ValueError):
            sys.path.remove(str(shown.code.folder))
    for name in names:
        sys.modules.pop(name, None)


def _is_free(name: str) -> bool:
    """Tell whether a name is not that of an installed package which is in use."""
    there = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
    return there is None or is_own_code(there)
