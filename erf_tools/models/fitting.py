"""Fitting a state dict to a network: which part of a file, under which names, with which head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError
from erf_tools.models.checkpoints import Checkpoint, StateDict, StoredState, is_averaged, is_counter
from erf_tools.models.looks import look_of
from erf_tools.models.safe_reading import FULL_STATE
from erf_tools.text import first_few

Renaming = Callable[[StateDict, nn.Module], StateDict]

#: Counts of batches, which nothing depends on in evaluation mode.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Fitted:
    """A state dict that fits a network.

    Attributes:
        state: every key of the network's, but those of the head where that is missing.
        notes: what had to be done for it, in words.
        classes: the width of the head in the file where that is another; 0 if there is none.
        resized: keys whose tensors timm has resized.
    """

    state: StateDict
    notes: tuple[str, ...] = ()
    classes: int | None = None
    resized: tuple[str, ...] = ()


def fit(
    found: Checkpoint,
    module: nn.Module,
    head: Sequence[str] = (),
    renamings: Sequence[Renaming] = (),
) -> Fitted:
    """Return the state dict of a file that fits ``module``.

    Of several parts the preferred one that fits is taken. A prefix common to all keys, or to all
    keys of the network, is removed. Names of other libraries are brought to the network's own.

    Args:
        found: the file.
        module: the network.
        head: names of its classifier's layers, which may be missing or of another width.
        renamings: to be tried in turn where the names do not fit as they are.

    Raises:
        ErfToolsError: nothing in the file fits, or several parts do and none is preferred; or what
            fits holds values that cannot be weights.
    """
    own = module.state_dict()
    nearest: dict[tuple[str, ...], tuple[int, str]] = {}
    for renaming in (_as_they_are, *renamings):
        fitting: list[tuple[StoredState, Fitted]] = []
        for part in found.parts:
            _check_layouts(part.state, str(found.path))
            for state, notes in _without_prefixes(part, own):
                try:
                    renamed = renaming(state, module)
                except Exception:  # a renaming meant for other names stumbles over these
                    continue
                fitted, problems = _compared(renamed, own, head)
                if not problems:
                    resized = tuple(
                        key for key in own if key in state and key in fitted.state
                        and _shape(state[key]) != _shape(fitted.state[key])
                    )  # fmt: skip
                    notes += fitted.notes
                    fitting.append((part, Fitted(fitted.state, notes, fitted.classes, resized)))
                    break
                wrong = sum(len(keys) for keys in problems.values())
                if part.keys not in nearest or wrong < nearest[part.keys][0]:
                    nearest[part.keys] = (wrong, _described(problems))
        if fitting:
            fits = [part.keys for part, _ in fitting]
            misfits = {keys: said for keys, (_, said) in nearest.items() if keys not in fits}
            return _chosen(fitting, found, own, misfits)
    _, said = min(nearest.values(), key=lambda each: each[0])
    raise ErfToolsError(
        f"{found.path} does not fit the network: keys {said}{_others(found)}{_looks(found, own)}"
    )


def load(fitted: Fitted, module: nn.Module, head: Sequence[str], source: str) -> None:
    """Load what fits into a network, whose head becomes that of the file.

    Raises:
        ErfToolsError: its head cannot be replaced, or it does not fit after all.
    """
    if fitted.classes is not None:
        _replace_head(module, head, fitted.classes)
    load_into(module, fitted.state, source)


def load_into(module: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load ``state`` into ``module``, every key of both; counts of batches may be missing.

    Raises:
        ErfToolsError: keys are missing, unexpected, of another shape or another kind of number;
            each kind is named. Or values are not finite.
    """
    own = module.state_dict()
    _check_layouts(state, source)
    fitted, problems = _compared(state, own, ())
    if problems:
        raise ErfToolsError(f"{source} does not fit the network: keys {_described(problems)}")
    _check_finite(fitted.state, own, source)
    module.load_state_dict(fitted.state, strict=True)


def _as_they_are(state: StateDict, _module: nn.Module) -> StateDict:
    return state


def _without_prefixes(
    part: StoredState, own: Mapping[str, Any]
) -> Iterator[tuple[StateDict, tuple[str, ...]]]:
    """Yield a part as it is, without prefixes common to all keys, and what lies under others.

    The last are those that would make all keys of the network fit; averaged weights come first.
    """
    for state in (part.state, *part.others):
        yield _without_counters(state, own), ()
        while len({key.partition(".")[0] for key in state}) == 1 and all("." in k for k in state):
            state = {key.partition(".")[2]: value for key, value in state.items()}
            yield _without_counters(state, own), ()
    anchor = next((key for key in own if not key.endswith(_COUNTER)), "")
    prefixes = [key[: -len(anchor)] for key in part.state if key.endswith(f".{anchor}")]
    needed = [key for key in own if not key.endswith(_COUNTER)]
    # Most of the network's keys have to be there: its head need not be.
    prefixes = [
        prefix
        for prefix in prefixes
        if sum(prefix + key in part.state for key in needed) > len(needed) // 2
    ]
    if len(prefixes) > 1 and not any(map(is_averaged, prefixes)):
        raise ErfToolsError(
            f"the file holds {len(prefixes)} networks that fit, under {', '.join(prefixes)}: save "
            "the state dict of the one that is meant"
        )
    for prefix in sorted(prefixes, key=lambda name: not is_averaged(name)):
        inside = {
            key.removeprefix(prefix): value
            for key, value in part.state.items()
            if key.startswith(prefix)
        }
        if not is_averaged(prefix) and (averages := _without_dots(part.state, needed)):
            said = f"{len(averages)} averages whose names have lost their dots were taken"
            yield inside | averages, (said,)
        if outside := [key for key in part.state if not key.startswith(prefix)]:
            said = f"{len(outside)} keys outside {prefix!r} were left out ({first_few(outside)})"
            yield inside, (said,)


def _without_counters(state: StateDict, own: Mapping[str, Any]) -> StateDict:
    """Return a state dict without counters that are none of the network's own."""
    return {key: value for key, value in state.items() if key in own or not is_counter(key)}


def _without_dots(state: StateDict, needed: Sequence[str]) -> StateDict:
    """Return averages of parameters that are named without dots, as the LitEma of diffusion does.

    Args:
        state: where they are among others, under a prefix of averages.
        needed: the network's keys; its buffers have no averages.
    """
    found: StateDict = {}
    names = {key.replace(".", ""): key for key in needed}
    for key, value in state.items():
        prefix, _, name = key.rpartition(".")
        if name in names and is_averaged(prefix):
            found[names[name]] = value
    return found if any("." in key for key in found) else {}


def _compared(
    state: Mapping[str, Any], own: Mapping[str, Any], head: Sequence[str]
) -> tuple[Fitted, dict[str, list[str]]]:
    """Return what of ``state`` is to be loaded, and the keys that do not fit by kind of misfit."""
    state = {
        key: value
        for key, value in state.items()
        if not key.endswith(_COUNTER) or (key in own and _shape(value) == _shape(own[key]))
    }
    for key, value in own.items():
        if key.endswith(_COUNTER):
            state.setdefault(key, value)
    own_head = {key for key in own if _lies_in(key, head)}
    there = {key for key in state if _lies_in(key, head)}
    notes: tuple[str, ...] = ()
    classes: int | None = None
    widths = {state[key].shape[0] for key in there & own_head if _other_width(state[key], own[key])}
    if own_head and there != own_head:
        classes = 0
        said = "has no classifier" if not there else "has a classifier of another kind"
        notes = (f"the file {said}: the network has none, and gives no classes",)
    elif len(widths) == 1:
        (classes,) = widths
        notes = (f"the classifier is the file's own, of {classes} classes",)
    if classes == 0:
        state = {key: value for key, value in state.items() if key not in there}
    expected = own.keys() - own_head if classes == 0 else own.keys()
    compared = [key for key in own if key in state and not (classes and key in own_head)]
    problems = {
        "missing": [key for key in own if key in expected and key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {_shape(state[key])} instead of {_shape(own[key])}"
            for key in compared
            if _shape(state[key]) != _shape(own[key])
        ],
        "of another kind of number": [
            f"{key} {_kind(state[key])} instead of {_kind(own[key])}"
            for key in own
            if key in state and _family(state[key]) != _family(own[key])
        ],
    }
    return Fitted(state, notes, classes), {kind: keys for kind, keys in problems.items() if keys}


def _chosen(
    fitting: Sequence[tuple[StoredState, Fitted]],
    found: Checkpoint,
    own: Mapping[str, Any],
    misfits: Mapping[tuple[str, ...], str],
) -> Fitted:
    """Return the preferred of the parts that fit, those with a head of the network's own first.

    Args:
        fitting: these parts, as they fit.
        found: the file.
        own: the network's state dict.
        misfits: what is wrong with keys of others, by where they lie.
    """
    # The parts are in the order of preference; sorting keeps it.
    part, best = min(fitting, key=lambda pair: pair[1].classes is not None)
    equal = [repr(other.name) for other, _ in fitting if other.rank == part.rank]
    if len(equal) > 1:
        raise ErfToolsError(
            f"{found.path} holds {len(equal)} state dicts that fit ({', '.join(equal)}): save the "
            "one that is meant"
        )
    _check_finite(best.state, own, str(found.path))
    notes = best.notes
    if not part.averaged:
        notes = (*_averages_left_out(found, own, misfits), *notes)
    if found.nameless:
        said = f"averaged weights without names ({first_few(found.nameless)}) were left out"
        notes = (said, *notes)
    if len(found.parts) > 1:
        said = f"of {len(found.parts)} state dicts in the file, {part.name!r} was taken"
        notes = (said, *notes)
    return Fitted(best.state, notes, best.classes, best.resized)


def _averages_left_out(
    found: Checkpoint, own: Mapping[str, Any], misfits: Mapping[tuple[str, ...], str]
) -> Iterator[str]:
    """Say of averaged weights why others were taken; of what is too little to be weights, not."""
    for part in found.parts:
        if part.averaged and 2 * len(part.state) > sum(not key.endswith(_COUNTER) for key in own):
            said = misfits.get(part.keys)
            why = f"keys {said}" if said else "their classifier is missing, or another"
            yield f"averaged weights {part.name!r} were left out: {why}"


def _replace_head(module: nn.Module, head: Sequence[str], classes: int) -> None:
    """Give a network a head of another width, or none."""
    network: Any = module
    if hasattr(module, "reset_classifier"):
        network.reset_classifier(classes)
        return
    for name in head:
        layer: Any = module.get_submodule(name)
        module.set_submodule(
            name, nn.Linear(layer.in_features, classes) if classes else nn.Identity()
        )


def _lies_in(key: str, names: Sequence[str]) -> bool:
    return any(key.startswith(f"{name}.") for name in names)


def _other_width(value: Any, own: Any) -> bool:
    return _shape(value)[1:] == _shape(own)[1:] and _shape(value)[:1] != _shape(own)[:1]


def _shape(value: Any) -> list[int]:
    return list(value.shape) if isinstance(value, Tensor) else []


def _kind(value: Any) -> str:
    return str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")


def _family(value: Any) -> str:
    """Return what kind of numbers a tensor holds; rounding within a kind is nothing new."""
    if not isinstance(value, Tensor):
        return "no tensor"
    if value.dtype == torch.bool:
        return "bool"
    if value.is_complex():
        return "complex"
    return "floating" if value.is_floating_point() else "integer"


def _check_layouts(state: Mapping[str, Any], source: str) -> None:
    """Refuse tensors that are not plain numbers in memory.

    Raises:
        ErfToolsError: a tensor is sparse, quantised, or without values.
    """
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        odd = (
            "has no values (it is on the meta device): save it with its values"
            if value.is_meta
            else "is quantised: save the floating-point network"
            if value.is_quantized or (value.is_floating_point() and value.itemsize == 1)
            else f"is a part of one: {FULL_STATE}"
            if type(value).__module__.startswith("torch.distributed.")
            else "is sparse: save it with .to_dense()"
            if value.layout != torch.strided
            else ""
        )
        if odd:
            raise ErfToolsError(f"{source}: the tensor {key} {odd}")


def _check_finite(state: Mapping[str, Any], own: Mapping[str, Any], source: str) -> None:
    """Refuse infinity and NaN, except where the network itself has them, as masks do.

    Raises:
        ErfToolsError: the tensors are named.
    """

    def is_finite(value: Any) -> bool:
        return not isinstance(value, Tensor) or bool(value.isfinite().all())

    bad = [key for key, value in state.items() if not is_finite(value)]
    if bad := [key for key in bad if is_finite(own[key])]:
        raise ErfToolsError(
            f"{source} holds values that are not finite (NaN or infinity) in {len(bad)} tensors "
            f"({first_few(bad)}): the training diverged, or the file is damaged"
        )


def _described(problems: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{len(keys)} {kind} ({first_few(keys)})" for kind, keys in problems.items())


def _others(found: Checkpoint) -> str:
    if len(found.dictionaries) < 2:
        return ""
    return f"; its keys that hold dictionaries are {first_few(found.dictionaries)}"


def _looks(found: Checkpoint, own: Mapping[str, Any]) -> str:
    """Return which network a file is of, and which the network is, where they are not the same."""
    theirs = next(filter(None, (look_of(part.state) for part in found.parts)), None)
    ours = look_of(own)
    if theirs is None or theirs == ours:
        return ""
    return f"; it looks like {theirs.words}" + (f" (the network like {ours.words})" if ours else "")
