"""What a network that is not ours raised, in one sentence: what happened, and what can help.

The causes are data: how an exception is recognised, what it means here, and a remedy. A remedy is
named only where it can help; of anything else the exception itself is given, and where it was
raised.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import reason
from erf_tools.models.prefixes import LIBRARIES
from erf_tools.text import dimensions, first_line


class OutOfMemory(ErfToolsError):  # noqa: N818  (it is what happened, and can be handled)
    """A network did not fit into memory; fewer images at once may."""


class Cause(NamedTuple):
    """One way in which a network fails.

    Attributes:
        pattern: what is searched for in the exception, written as ``Type: message``.
        happened: what it means.
        remedy: what can help.
        holds: whether the network is one to which this applies.
        error: the class of the error that is raised instead.
    """

    pattern: str
    happened: str
    remedy: str
    holds: Callable[[nn.Module], bool] = lambda module: True
    error: type[ErfToolsError] = ErfToolsError


def _has_part_of(package: str) -> Callable[[nn.Module], bool]:
    return lambda module: any(
        type(part).__module__.startswith(package) for part in module.modules()
    )


def _is_scripted(module: nn.Module) -> bool:
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


#: Whose networks are built by name.
_NOT_THE_USERS = {"erf_tools", *(library.package for library in LIBRARIES.values())}

_TRAINED_AT = "try the resolution it was trained at with --resolution"
_NO_GRADIENT = r"does not require grad and does not have a grad_fn"

#: The first that is recognised counts, so that special causes come before general ones.
CAUSES = (
    Cause(
        r"MemoryError|OutOfMemory|out of memory|can't allocate memory|not enough memory",
        "it does not fit into memory",
        "lower --resolution or --batch-size, or use another --device",
        error=OutOfMemory,
    ),
    Cause(
        _NO_GRADIENT,
        "its quantised layers have no gradient",
        "give the network in floating point from which it was made",
        _has_part_of("torch.ao.nn."),
    ),
    Cause(
        _NO_GRADIENT,
        "no gradient reaches the image, because something in the network cuts it off (no_grad, "
        "detach, NumPy, rounding to integers)",
        "remove that for the measurement, or name a layer before it with --layer",
    ),
    Cause(
        r"on Tensor that requires grad\. Use tensor\.detach\(\)",
        "it computes with NumPy, which has no gradient",
        "compute that step with torch, or name a layer before it with --layer",
    ),
    Cause(
        r"appears? to not have been used in the graph",
        "the layer's output does not depend on the image",
        "name another layer with --layer",
    ),
    Cause(
        r"use_reentrant|Checkpointing is not compatible with \.grad\(\)",
        "its checkpointing is re-entrant, which gives no gradient of the image",
        "set use_reentrant=False, or switch checkpointing off",
    ),
    Cause(
        r"modified by an inplace operation",
        "it overwrites, in place, values that its gradient needs",
        "write that step without in-place operations (inplace=False, y = y + 1 for y += 1)",
    ),
    Cause(
        r"leaf Variable that requires grad|view of a leaf Variable",
        "it overwrites its input in place",
        "let it work on a copy (x = x.clone())",
    ),
    Cause(
        r"implement either the backward|derivative for .* is not implemented|"
        r"no derivative|does not support automatic differentiation",
        "one of its operations has no gradient",
        "give that operation a backward, or name a layer before it with --layer",
    ),
    Cause(
        # Parameters of a copied part are no leaves.
        r"not supported on ScriptModules|RecursiveScriptModule|torch\.jit|TorchScript|"
        r"only change requires_grad flags of leaf",
        "it is TorchScript, or has a part that is, which cannot be looked into",
        "give the nn.Module from which that was made",
        _is_scripted,
    ),
    Cause(
        r"(Calling|call) (eval|train)\(\)|Guard failed: ",
        "it comes from torch.export, which has fixed its mode, or the shape of its input",
        "give the nn.Module that was exported",
    ),
    Cause(
        r"torch\._dynamo|torch\._inductor|BackendCompilerFailed",
        "torch.compile could not compile it",
        "give the network as it was before torch.compile",
    ),
    Cause(
        r'missing the required "forward" function',
        "it has no forward",
        "give a module that takes images",
    ),
    Cause(
        r"expected input\[[\d, ]+\] to have \d+ channels, but got 3 channels|"
        r"channel dimension of the pixel values",
        "it does not take images of three channels (RGB)",
        "give --channels 1 or 4, or write a factory that makes its channels of RGB",
    ),
    Cause(
        r"expected input\[\d+, [14], \d+, \d+\] to have \d+ channels, but got [14] channels",
        "it takes another number of channels than --channels says",
        "give the right --channels, or leave it out for RGB",
        lambda module: hasattr(type(module), "converted"),
    ),
    Cause(
        r"missing \d+ required (positional|keyword-only) argument|"
        r"takes (1|0) positional arguments? but \d|You have to specify|You must specify",
        "its forward takes something else than a batch of images",
        "wrap it in a module that takes the images alone and hands them on with the rest",
    ),
    Cause(
        r"too many indices for tensor of dimension 4|'Tensor' object has no attribute|"
        r"'Tensor' object is not a mapping|must be a mapping, not Tensor",
        "it seems to take a dictionary or an object instead of a tensor",
        "wrap it in a module that makes that of a tensor of images",
    ),
    Cause(
        r"\(unbatched\) or \dD \(batched\) input to (conv|max_pool|avg_pool|adaptive)|"
        r"expected input\[\d+, [14], 3, |argument #1 'indices'|"
        r"expected [123]D (or \dD )?input \(got 4D input\)",
        "it is no network for images [N, 3, height, width]",
        "wrap it in a module that makes its input of images",
    ),
    Cause(
        r"Expected more than 1 value per channel when training",
        "a norm in it uses the statistics of the batch although it is in evaluation mode",
        "give that norm running statistics, or make it a submodule, so that eval() reaches it",
    ),
    Cause(
        r"No CUDA GPUs are available|NVIDIA driver|not compiled with CUDA|CUDA_VISIBLE",
        "it asks for CUDA, which is not here",
        "remove .cuda() from it: it is brought to --device as a whole",
    ),
    Cause(
        r"[Ee]xpected all tensors to be on the same device|"
        r"Input type \((torch\.)?cuda|type \(torch\.\w+\.\w+Tensor\) and weight type",
        "parts of it are on different devices",
        "register its tensors as buffers, or make them on the device of its input",
    ),
    Cause(
        r"CUDA error|cuDNN error|CUBLAS_STATUS|cudnn",
        "the GPU failed",
        "try --device cpu, which often says more",
    ),
    Cause(
        r"should be the same|have the same dtype|expected scalar type",
        "parts of it hold numbers of different types",
        "bring it to one type with .float()",
    ),
    Cause(
        r"not implemented for '|is not supported for complex types",
        "one of its operations does not exist for its type of numbers on this device",
        "bring it to one type with .float(), and see that it gives real numbers",
    ),
    Cause(
        r"'aten::_nnz'|from the 'Sparse|from the 'Quantized|from the 'Mkldnn|tensor layout",
        "it gives a tensor that is not dense",
        "bring that to a dense one (.to_dense(), .dequantize()), or name another layer",
    ),
    Cause(
        r"doesn't match model|match(es)? the (size|input)|[Ss]izes of tensors must match|"
        r"size of tensor a|mat1 and mat2|shapes cannot be multiplied|invalid for input of size|"
        r"must match the size|greater than actual input size|"
        r"[Pp]added input size|Output size is too small|output size.*too small|"
        r"Padding size should be less|cannot be broadcast|expanded size|not divisible|"
        r"divisible by|can't divide axis|einops\.EinopsError|size mismatch|wrong (img|image|size)|"
        r"has wrong size|[Ii]nput (image )?(height|width|size)|"
        r"Given normalized_shape|split_with_sizes",
        "the size of the images does not suit it",
        _TRAINED_AT,
    ),
    Cause(
        r"RecursionError",
        "it calls itself without end",
        "look at its forward; --debug shows the traceback",
    ),
    Cause(
        r"ModuleNotFoundError|ImportError",
        "it needs a package that is not here",
        "install it",
    ),
    Cause(
        r"FileNotFoundError|PermissionError|ConnectionError|URLError|HTTPError",
        "it wants a file or an address that cannot be had",
        "see that it is there: a forward pass should need none",
    ),
    Cause(
        r"SystemExit",
        "it ends the program",
        "remove the call of exit from its forward",
    ),
)


@contextmanager
def explained(name: str, module: nn.Module, size: tuple[int, int]) -> Iterator[None]:
    """Turn whatever a network raises into one sentence.

    Args:
        name: of the network.
        module: the network.
        size: height and width of what it is given.

    Raises:
        OutOfMemory: it did not fit into memory.
        ErfToolsError: instead of anything else that it raised; errors of our own stay.
    """
    try:
        yield
    except ErfToolsError:
        raise
    except (Exception, SystemExit) as error:
        failed = f"{name} failed on inputs of {dimensions(size)}"
        said = f"{type(error).__name__}: {error}"
        if type(error).__module__ != "builtins":
            said = f"{type(error).__module__}.{said}"
        for cause in CAUSES:
            if re.search(cause.pattern, said) and cause.holds(module):
                shown = first_line(error)
                raise cause.error(
                    f"{failed}: {cause.happened} ({shown}); {cause.remedy}"
                ) from error
        remedy = "try another --resolution" if _is_of_a_library(module) else "mend that"
        raise ErfToolsError(
            f"{failed}: {reason(error)}{_place(error)}; {remedy}, or see the traceback with --debug"
        ) from error


def not_a_network(given: object) -> str:
    """Return what something is that is not an ``nn.Module``, and what to give instead."""
    kind = type(given)
    if _is_exported(given):
        return "a torch.export program; give the nn.Module that was exported"
    if isinstance(given, type):
        return f"the class {given.__name__}; give an instance of it"
    if isinstance(given, dict):
        return "a dictionary; give the nn.Module itself, and a state dict as its weights"
    if isinstance(given, (tuple, list)):
        return f"a {kind.__name__} of {len(given)}; give the nn.Module in it alone"
    if callable(given):
        return f"a {kind.__name__} and no nn.Module; give a module whose forward calls it"
    return f"a {kind.__name__}, not an nn.Module"


def _is_exported(given: object) -> bool:
    """Tell whether something is a program of ``torch.export``, or the module of one."""
    return any(part.__module__.startswith("torch.export") for part in type(given).__mro__)


def check_network(given: object, name: str) -> nn.Module:
    """Return ``given`` if it is a network whose parameters have values.

    Raises:
        UsageError: it is something else, or has parameters without values.
    """
    if not isinstance(given, nn.Module) or _is_exported(given):
        raise UsageError(f"{name} is {not_a_network(given)}")
    for part, tensor in [*given.named_parameters(), *given.named_buffers()]:
        if is_lazy(tensor):
            raise UsageError(
                f"{name} has lazy layers that have seen no input yet ({part}); call it once on "
                "an image of the right size before"
            )
        if tensor.is_meta:
            raise UsageError(
                f"{name} has parameters on the meta device, which hold no values ({part}); load "
                "its weights first (to_empty, or load_state_dict with assign=True)"
            )
        if tensor.is_floating_point() and tensor.itemsize == 1:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UsageError(
                f"{name} has values in 8 bits ({part}, {kind}); give the network in floating point "
                "from which it was made"
            )
    for part, parameter in given.named_parameters():
        dense = parameter.layout == torch.strided and not parameter.is_quantized
        if dense and not parameter.isfinite().all():
            raise UsageError(f"{name} has values that are not finite (NaN or infinity) in {part}")
    return given


def _is_of_a_library(module: nn.Module) -> bool:
    """Tell whether a network's code is a library's or ours, which its user does not mend."""
    return type(module).__module__.split(".")[0] in _NOT_THE_USERS


def _place(error: BaseException) -> str:
    """Return where in code that is not a library's an exception was raised, or nothing."""
    libraries = {Path(sysconfig.get_path(key)) for key in ("stdlib", "purelib", "platlib")}
    own = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.suffix == ".py" and not {own, *libraries} & set(path.parents):
            return f" ({path.name}, line {frame.lineno})"
    return ""
