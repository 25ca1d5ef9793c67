"""Choices that are declared once, as fields of a dataclass.

A field made by :func:`choice` is the keyword of a function, the option of a command, the key in a
study file, and what a command is written with that makes a result again: all of it follows from the
field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from erf_tools.errors import UsageError
from erf_tools.text import listed

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Choice:
    """A choice, as it was declared.

    Attributes:
        default: its value where nothing is chosen.
        help: a sentence or two for people.
        option: on the command line; made of the name where it is empty.
        metavar: what stands for its value on the command line; by its type where it is empty.
        shown_default: what is chosen by default, where the default does not say it.
        lowest: of a number.
        name: of the field, the keyword and the key.
        type: of its value. Of several, the one that the command line and study files take.
        accepted: all types that the library takes.
    """

    default: Any
    help: str
    option: str = ""
    metavar: str | None = None
    shown_default: str | None = None
    lowest: int | None = None
    name: str = ""
    type: Any = None
    accepted: Any = None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The values there are, where they are few."""
        of = [part for part in _parts(self.type) if get_origin(part) is Literal]
        return tuple(value for part in of for value in get_args(part))

    def check(self, value: Any) -> None:
        """See that a value is one of those that are allowed.

        Raises:
            UsageError: it is not.
        """
        if self.allowed and value != self.default and value not in self.allowed:
            raise UsageError(f"{self.option} is {value!r}; it is {listed(self.allowed, 'or')}")


def choice(default: Any, help: str, **more: Any) -> Any:
    """Return a field of a dataclass that declares a choice; see :class:`Choice`."""
    return field(default=default, metadata={"choice": Choice(default, help, **more)})


@cache
def declared(declaration: type) -> tuple[Choice, ...]:
    """Return the choices that a dataclass declares, in the order of its fields."""
    types = get_type_hints(declaration)
    return tuple(
        replace(
            each.metadata["choice"],
            name=each.name,
            option=each.metadata["choice"].option or f"--{each.name.replace('_', '-')}",
            type=_simple(types[each.name]),
            accepted=types[each.name],
        )
        for each in fields(declaration)
        if "choice" in each.metadata
    )


def taken(choices: Iterable[Choice], among: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of some choices among others', as their declaration takes them."""
    found = {each.name: among[each.name] for each in choices if each.name in among}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }


def popped(choices: Iterable[Choice], among: dict[str, Any]) -> dict[str, Any]:
    """Return the values of some choices among others', which are what is left there."""
    return {each.name: among.pop(each.name) for each in choices if each.name in among}


def values_of(choices: Iterable[Choice], of: object) -> dict[str, Any]:
    """Return what is chosen by an object that has choices as attributes."""
    return {each.name: getattr(of, each.name) for each in choices}


def check(declaration: Any) -> None:
    """See that each value of a dataclass of choices is one of those that are allowed.

    Raises:
        UsageError: one is not.
    """
    for each in declared(declaration.__class__):
        each.check(getattr(declaration, each.name))


def words(choices: Iterable[Choice], chosen: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that choose these values."""
    found: list[str] = []
    for each in choices:
        value = chosen[each.name]
        if isinstance(value, bool):
            found += [each.option] * value
        elif isinstance(value, (tuple, list)):
            found += [word for item in value for word in (each.option, str(item))]
        elif value is not None:
            found += [each.option, str(value)]
    return found


def spelled_out(
    choices: Iterable[Choice],
    annotation: Callable[[Choice], Any] = lambda choice: choice.accepted,
    before: str = "",
) -> Callable[[_Function], _Function]:
    """Return a decorator by which the signature of a function names what its ``**choices`` are.

    Args:
        choices: that the function takes.
        annotation: gives the type of a parameter.
        before: the parameter, given by keyword only, that they come before; the first of these by
            default.
    """

    def decorate(function: _Function) -> _Function:
        own = signature(function, eval_str=True)
        spelled = [
            Parameter(
                each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation(each)
            )
            for each in choices
        ]
        by_kind = {
            kind: [each for each in own.parameters.values() if each.kind == kind]
            for kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        }
        first, last = by_kind.values()
        place = [each.name for each in last].index(before) if before else 0
        parameters = [*first, *last[:place], *spelled, *last[place:]]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


def _parts(type_: Any) -> tuple[Any, ...]:
    """Return the types of which a value has one."""
    return get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,)


def _simple(type_: Any) -> Any:
    """Return the first of several types, with ``None`` if that is one of them."""
    first, *others = _parts(type_)
    return first | None if NoneType in others else first
