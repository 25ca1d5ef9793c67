"""How much timm's networks compute, from an image to the feature map that is measured.

Nothing is computed: tensors on torch's ``meta`` device have shapes and no values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from analyses.programs import kept
from erf_tools.erf.procedure import DEFAULT_RESOLUTION
from erf_tools.errors import UsageError
from erf_tools.failures import reason
from erf_tools.features.reading import read_features
from erf_tools.features.taps import default_tap
from erf_tools.models.libraries.timm_networks import size_arguments

#: Networks in one kept part of the counting.
_PART = 50

FAMILIES = ("convolutional", "mixed", "attention")

#: Share of convolutions in the work below which a network with attention is not mixed.
_FEW_CONVOLUTIONS = 0.05


def count_pass(network: nn.Module, side: int) -> dict[str, Any]:
    """Count the way from an image to the feature map that is measured, without computing it.

    Args:
        network: on torch's ``meta`` device, where tensors have shapes and no values.
        side: of the input, in pixels.

    Returns:
        Multiply-adds: ``forward``, and of these ``convolutions`` and ``attention`` (products of two
        activations). ``kept_bytes``: activations held for the way back, with each attention matrix
        written out, as fused kernels do not. ``failure`` says why there is no map; what is known
        nevertheless is there.
    """
    network.eval().requires_grad_(False)
    images = torch.empty(1, 3, side, side, device="meta", requires_grad=True)
    failure = None
    with FlopCounterMode(display=False) as counter, _held(network) as held:
        try:
            read_features(network, default_tap(network), images)
        except UsageError as error:
            failure = f"map: {reason(error)}"
        except Exception as error:  # networks refuse a size in any way they like
            return {"failure": f"forward: {reason(error)}"}
    return {"failure": failure, **_multiplications(counter), "kept_bytes": sum(held.values())}


def _multiplications(counter: FlopCounterMode) -> dict[str, int]:
    by_kind = {str(kind): count // 2 for kind, count in counter.get_flop_counts()["Global"].items()}

    def of(*words: str) -> int:
        return sum(n for kind, n in by_kind.items() if any(word in kind for word in words))

    return {
        "forward": sum(by_kind.values()),
        "convolutions": of("convolution"),
        "attention": of("bmm", "attention"),
    }


@contextmanager
def _held(network: nn.Module) -> Iterator[dict[int, int]]:
    """Give the bytes of each storage that is saved for the backward pass inside; not weights."""
    own = {tensor.untyped_storage()._cdata for tensor in network.state_dict().values()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield held


def count_network(name: str) -> dict[str, Any]:
    """Count a network of timm at its own size and at 1024.

    Returns:
        ``network``, ``module`` (timm's), ``side`` (its own), ``one_size`` (it is built for one),
        ``weights`` (some are published), ``parameters``, ``weight_bytes``; and what
        :func:`count_pass` gives, as ``own_*`` and ``large_*``.
    """
    cfg = get_pretrained_cfg(name)
    side = int(cfg.input_size[-1])
    row: dict[str, Any] = {
        "model": name,
        "module": timm.model_entrypoint(name).__module__.rpartition(".")[2],
        "side": side,
        "one_size": bool(cfg.fixed_input_size),
        "weights": bool(cfg.has_weights),
    }
    network, arguments = None, None
    for prefix, wanted, size in (
        ("own", side, None),
        ("large", DEFAULT_RESOLUTION, (DEFAULT_RESOLUTION,) * 2),
    ):
        needed = size_arguments(name, size)
        try:
            if network is None or needed != arguments:
                with torch.device("meta"):
                    network, arguments = timm.create_model(name, **needed), needed
            found = count_pass(network, wanted)
        except Exception as error:
            network, found = None, {"failure": f"build: {reason(error)}"}
        if network is not None and "parameters" not in row:
            tensors = network.state_dict().values()
            row["parameters"] = sum(parameter.numel() for parameter in network.parameters())
            row["weight_bytes"] = sum(tensor.nbytes for tensor in tensors)
        row |= {f"{prefix}_{key}": value for key, value in found.items()}
    return row


def _counted(names: Sequence[str]) -> dict[str, Any]:
    return {"rows": [count_network(name) for name in names]}


def count(names: Sequence[str], output: Path) -> pd.DataFrame:
    """Return a row per network; see :func:`count_network`."""
    rows = []
    parts = [names[start : start + _PART] for start in range(0, len(names), _PART)]
    for part in tqdm(parts, unit="part", disable=None):
        found = kept(
            output / "counts" / f"{part[0]}.json",
            {"networks": list(part), "resolution": DEFAULT_RESOLUTION},
            partial(_counted, part),
        )
        rows += found["rows"]
    return pd.DataFrame(rows)


def family(counted: pd.DataFrame) -> pd.Series:
    """Return each network's family by what it multiplies at its own size; NaN where not known.

    ``convolutional`` is what has no attention (MLPs over positions too), ``attention`` what has
    hardly any convolutions beside it, ``mixed`` the rest.
    """
    few = counted["own_convolutions"] < _FEW_CONVOLUTIONS * counted["own_forward"]
    found = few.map({True: "attention", False: "mixed"})
    return found.mask(counted["own_attention"] == 0, "convolutional").where(
        counted["own_forward"].notna()
    )


def operations(counted: pd.DataFrame, prefix: str = "large") -> pd.Series:
    """Return the operations of a pass, from an image to the map and back from one of its units.

    A multiply-add is two. The way back, to the image alone, has the same ones, but those of
    attention twice: both factors of a product of activations lead back.

    Args:
        counted: from :func:`count`.
        prefix: ``own`` size, or ``large``.
    """
    return 2 * (2 * counted[f"{prefix}_forward"] + counted[f"{prefix}_attention"])
