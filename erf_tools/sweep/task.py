"""A task: what a sweep measures of each network, as a table of the study file says it.

A kind of task is a class in a module of its own in :mod:`erf_tools.sweep.tasks`. Planning imports
it, so that what computes (torch) is imported inside its methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, Struct, defstruct

from erf_tools.choices import Choice
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import remove
from erf_tools.models.requests import Request
from erf_tools.preprocessing import Preprocessing

if TYPE_CHECKING:
    import pandas as pd

    from erf_tools.sweep.plan import Measurement
    from erf_tools.sweep.sources import Sources


class PartsError(ErfToolsError):
    """Parts make no result; those that do not are removed, so that they are measured again."""


#: A text with something in it.
Text = Annotated[str, Meta(pattern=r"\S")]


def table(choices: Iterable[Choice], base: type[Struct] = Struct) -> Any:
    """Return the form of a table of a study file whose keys are choices that are declared.

    Args:
        choices: that can be made in it.
        base: of the form.
    """
    fields = [(each.name, _checked(each), each.default) for each in choices]
    return defstruct(
        "Table", fields, bases=(base,), frozen=True, forbid_unknown_fields=True, kw_only=True
    )


def _checked(choice: Choice) -> Any:
    """Return the type of a choice's value, with what else it has to be."""
    number = Annotated[int, Meta(ge=choice.lowest)]
    checked: dict[Any, Any] = {str: Text, int: number, tuple[str, ...]: tuple[Text, ...]}
    optional = {plain | None: better | None for plain, better in checked.items()}
    return {**checked, **optional}.get(choice.type, choice.type)


@dataclass(frozen=True)
class Opened:
    """A task with its images.

    Attributes:
        shares: of the images, one per unit: images and all that measuring them needs.
        images: how many there are in all of them.
        identity: what of the images a result depends on, as JSON values.
        whole: what a result says of all of them together, as JSON values.
    """

    shares: Sequence[Any]
    images: int
    identity: Mapping[str, Any]
    whole: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """What a task gave for all networks together.

    Attributes:
        table: a row per result, with the columns ``model``, ``weights``, ``weights_sha256``,
            ``layer``, ``resolution``, ``images`` and ``file``, and one per measure, beside which
            ``MEASURE_low`` and ``MEASURE_high`` may be its interval.
        measures: which of the columns are measures.
        files: what was written.
    """

    table: pd.DataFrame
    measures: Sequence[str]
    files: Sequence[Path]


class Task(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of a study file; its fields are the table's keys.

    A subclass raises ``ValueError`` in ``__post_init__`` where they make no sense together. It has
    all of these methods; that cannot be declared, since a struct cannot be an abstract class.

    Attributes:
        table: name of the table, and of the folder for results below the sweep's.
        repeatable: whether a study may have several, as ``[[table]]``.
        beside: endings of the files that a result has beside the one that its rows name.
    """

    table: ClassVar[str]
    repeatable: ClassVar[bool] = False
    beside: ClassVar[tuple[str, ...]] = ()

    @property
    def title(self) -> str:
        """The task in a word; no other of the study has the same."""
        raise NotImplementedError

    @property
    def passes(self) -> int:
        """Passes through a network for an image, forward or backward."""
        return 1

    def opened(self, sources: Sources) -> Opened:
        """Return the task with its images, which are read and checked; no network is needed.

        Raises:
            UsageError: there are no such images.
            ErfToolsError: they cannot be fetched.
        """
        raise NotImplementedError

    def names(self, share: Any) -> list[str]:
        """Return the names of the images of a share."""
        raise NotImplementedError

    def marker(self, request: Request) -> Path:
        """Return where the rows of a network's result go, below the sweep's folder."""
        raise NotImplementedError

    def size(self, own: Preprocessing) -> tuple[int, int]:
        """Return height and width of what a network with this preprocessing is shown."""
        raise NotImplementedError

    def network(self, request: Request, seed: int, device: str, held: ExitStack) -> Any:
        """Return a network ready for :meth:`measure`.

        Args:
            request: the network.
            seed: of random weights.
            device: as in :func:`erf_tools.effective_receptive_field`.
            held: closed when the network is no longer needed.

        Raises:
            ErfToolsError: it cannot be had.
        """
        raise NotImplementedError

    def measure(self, network: Any, share: Any, device: str, part: Path) -> None:
        """Measure a share of the images, and write the unit's part of the result.

        Raises:
            ErfToolsError: the network failed.
            OutputError: the part cannot be written.
        """
        raise NotImplementedError

    def join(self, measurement: Measurement, parts: Sequence[Path], output: Path) -> pd.DataFrame:
        """Put a network's result together from its parts, and write it.

        Args:
            measurement: the network under this task.
            parts: of all units, in the order of their images.
            output: the sweep's folder.

        Returns:
            The rows of the result; ``file`` is where it lies, below the sweep's folder.

        Raises:
            UsageError: the parts do not add up: they are of different networks.
            PartsError: a part is damaged; it is removed.
            FileNotFoundError: a part is gone, since another worker has put them together.
            OutputError: it cannot be written.
        """
        raise NotImplementedError

    def publish(self, rows: pd.DataFrame, output: Path, failures: Failures) -> Published:
        """Write what shows the results of all networks together.

        Args:
            rows: of all results that are there.
            output: the sweep's folder.
            failures: what cannot be written is added here, and what cannot be read of a result,
                which the table is without then.

        Raises:
            ErfToolsError: nothing can be read.
        """
        raise NotImplementedError


@contextmanager
def removed_if_damaged(part: Path) -> Iterator[None]:
    """Remove a part that cannot be read inside, so that it is made again.

    Raises:
        PartsError: it could not be read.
        FileNotFoundError: it is not there.
    """
    try:
        part.stat()
        yield
    except UsageError as error:
        remove(part)
        raise PartsError(f"{error}; it is removed, to be made again") from error
