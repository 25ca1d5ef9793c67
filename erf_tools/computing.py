"""How a network is run: declared here, for the library, the command line and study files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from erf_tools.choices import choice, declared
from erf_tools.errors import UsageError
from erf_tools.numbers import LARGEST_BATCH, whole_number


@dataclass(frozen=True)
class Computing:
    """How a network is run. Time and memory depend on it, and results by rounding alone.

    Attributes:
        exact: plainly, image by image. Else faster ways are taken where they pay: norms folded into
            weights, only what the unit sees, several images at once. They are compared with plain
            computation on two of the images, and not used where they differ by more than rounding.
            And receptive fields that were found before are taken from the cache.
        batch_size: images at once; ``auto`` or ``None`` is as many as are fast. On CUDA a batch
            that does not fit is halved.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. ``auto`` is CUDA where there is
            one, else where the network is.

    Raises:
        UsageError: there is no such batch size, or it is not that of ``exact``.
    """

    exact: bool = choice(
        False,
        "Compute plainly, image by image, also where faster ways are proven to give the same.",
    )
    batch_size: str | int | None = choice("auto", "Images at once.", metavar="auto|N")
    device: str = choice("auto", "auto, cpu, cuda, cuda:1 or mps.", metavar="NAME")

    def __post_init__(self) -> None:
        if self._asked not in (None, 1) and self.exact:
            raise UsageError(
                f"--batch-size is {self.batch_size}, but --exact takes each image by itself; leave "
                "one out"
            )

    @property
    def images_at_once(self) -> int | None:
        """How many images are taken at once; ``None`` for as many as are fast."""
        return 1 if self.exact else self._asked

    @property
    def _asked(self) -> int | None:
        asked = self.batch_size
        if asked is None or asked == "auto":
            return None
        if isinstance(asked, str) and not re.fullmatch(r"[0-9]{1,6}", asked):
            raise UsageError(
                f"--batch-size is {asked!r}; it is auto or a number from 1 to {LARGEST_BATCH}"
            )
        number = int(asked) if isinstance(asked, str) else asked
        return whole_number(number, "--batch-size", 1, LARGEST_BATCH)


#: Devices by their names in torch, with a number or without.
_DEVICE = re.compile(r"([a-z][a-z0-9_]*)(?::(?:0|[1-9][0-9]*))?")
_TYPES = (
    *("cpu", "cuda", "fpga", "hip", "hpu", "ideep", "ipu", "lazy", "maia", "meta", "mkldnn", "mps"),
    *("mtia", "opencl", "opengl", "privateuseone", "ve", "vulkan", "xla", "xpu"),
)


def plausible_device(name: str) -> str:
    """Return the name of a device, after seeing that there may be one, without importing torch.

    What is installed beside torch may name a device as it likes.

    Raises:
        UsageError: torch knows none of this name on any machine.
    """
    found = _DEVICE.fullmatch(name)
    if name == "auto" or (found and found[1] in _TYPES):
        return name
    from importlib.metadata import entry_points  # takes its time, and few need it

    if not (found and entry_points(group="torch.backends")):
        raise no_such_device(name)
    return name


def no_such_device(name: str) -> UsageError:
    """Return what is said of a device that there is not."""
    return UsageError(f"--device {name}: there is no such device here; use auto or cpu")


#: What can be chosen of how a network is run.
COMPUTING = declared(Computing)

EXACT, BATCH_SIZE, DEVICE = COMPUTING

#: What can be chosen where there is one way of computing only.
BATCHED = (BATCH_SIZE, DEVICE)

#: What can be chosen where batches are of other than images.
UNBATCHED = (EXACT, DEVICE)
