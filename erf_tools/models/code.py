"""The code behind a factory, which decides its network as much as the values of its weights do."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from erf_tools.files import file_sha256

#: Endings of files with settings or weights, which a text in code may name.
_DATA = (
    *(".json", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
    *(".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".pkl", ".npz", ".npy"),
)

#: Signs that a text which names a folder has at most.
_LONGEST = 60


@dataclass(frozen=True)
class FactoryCode:
    """The files of the user's own that a factory is made of, as its code names them.

    Attributes:
        place: the factory's file or module, as it was asked for.
        folder: where it looks for modules first.
        modules: the files of the modules that it imports, at once or later, and that these import;
            by the names they are imported by. Code that was installed is not among them.
        digests: the SHA-256 of these files and of its own, by path.
        data: the SHA-256 of files with settings or weights that they name, by path: in a folder of
            code or the current one, or in a folder there that they name too.
    """

    place: str
    folder: Path
    modules: Mapping[str, Path]
    digests: Mapping[Path, str]
    data: Mapping[Path, str]

    @property
    def sha256(self) -> str | None:
        """A digest of all of the files; ``None`` where there is none."""
        return joint_sha256({**self.digests, **self.data})


def joint_sha256(digests: Mapping[Path, str]) -> str | None:
    """Return the SHA-256 of what ``sha256sum`` prints of files, in the order of their digests.

    Args:
        digests: of the files, by their paths; of these the names count.

    Returns:
        ``None`` where there are no files.
    """
    lines = sorted(f"{digest}  {file.name}\n" for file, digest in digests.items())
    return sha256("".join(lines).encode()).hexdigest() if lines else None


def code_of(name: str) -> FactoryCode:
    """Return the code behind a factory as it is on disk now, without running any of it.

    Args:
        name: of the factory, with its arguments, which may name files too.
    """
    called, _, arguments = name.partition("?")
    place = called.rpartition(":")[0]
    is_file = place.endswith(".py")
    own = Path(place).expanduser().resolve()
    folder = own.parent if is_file else Path(os.getcwd()).resolve()
    roots = [folder, *filter(_is_own, (Path(each).resolve() for each in sys.path))]
    modules: dict[str, Path] = {}
    digests: dict[Path, str] = {}
    named = set(arguments.replace("=", '"').split('"'))
    waiting: list[tuple[str, Path]] = [("", own)] if is_file else list(_found(place, roots))
    while waiting:
        module, file = waiting.pop()
        if file in digests or not file.is_file():
            continue
        if module:
            modules[module] = file
        digests[file] = file_sha256(file)
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        imported, texts = _said(file, package)
        named |= texts
        waiting += [found for each in sorted(imported) for found in _found(each, roots)]
    bases = {folder, Path(os.getcwd()).resolve(), *(file.parent for file in digests)}
    # A path may be put together, as in ``Path(__file__).parent / "settings" / "small.json"``.
    folders = {base / text for text in named if len(text) <= _LONGEST for base in bases}
    places = bases | {place for place in folders if _is(place.is_dir)}
    files = {place / text for text in named if text.endswith(_DATA) for place in places}
    data = {file.resolve(): file_sha256(file) for file in files if _is(file.is_file)}
    return FactoryCode(place, folder, modules, digests, data)


def is_own_code(file: str) -> bool:
    """Tell whether a file of code is the user's own: neither installed, nor Python's, nor ours."""
    return file.endswith(".py") and _is_own(Path(file).resolve())


@cache
def _is_own(path: Path) -> bool:
    installed = {"site-packages", "dist-packages"} & {*path.parts}
    library = Path(sysconfig.get_path("stdlib")).resolve()
    ours = Path(__file__).resolve().parents[1]
    return not installed and not any(map(path.is_relative_to, (library, ours)))


def _found(name: str, roots: list[Path]) -> Iterator[tuple[str, Path]]:
    """Find a module of the user's own and the packages that it lies in."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] == __name__.partition(".")[0]:
        return
    for end in range(1, len(parts) + 1):
        for root in roots:
            inside = root.joinpath(*parts[:end])
            files = inside / "__init__.py", inside.with_name(f"{inside.name}.py")
            if file := next((file for file in files if file.is_file()), None):
                yield ".".join(parts[:end]), file.resolve()
                break


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # no file has such a name
        return False


def _said(file: Path, package: str) -> tuple[set[str], set[str]]:
    """Return the names of modules that a file imports, and the texts in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # no network can be built with it
        return set(), set()
    imported, texts = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            imported |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return imported - {""}, texts
