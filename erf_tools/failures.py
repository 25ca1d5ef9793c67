"""One failure is one failure: what fails is listed, and everything else goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.text import first_line


class FailuresError(ErfToolsError):
    """Several things failed, or one among others that did not.

    Attributes:
        failures: what failed, each with its sentence.
        exit_code: 2 if nothing else was done and all of it is misuse, else 1.
    """

    def __init__(self, failures: Sequence[ErfToolsError], all_of_it: bool = False) -> None:
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = tuple(failures)
        misuse = all_of_it and all(isinstance(each, UsageError) for each in failures)
        self.exit_code = UsageError.exit_code if misuse else ErfToolsError.exit_code


class Failures:
    """What has failed so far."""

    def __init__(self) -> None:
        self._listed: list[ErfToolsError] = []

    def __iter__(self) -> Iterator[ErfToolsError]:
        return iter(self._listed)

    def extend(self, failures: Iterable[ErfToolsError]) -> None:
        """Add what has failed elsewhere."""
        self._listed.extend(failures)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Let whatever fails inside be listed, with ``what`` it is of, and go on behind it."""
        try:
            with one_sentence(what):
                yield
        except ErfToolsError as error:
            if what not in str(error):
                error.args = (f"{what}: {error}",)
            self._listed.append(error)


@contextmanager
def one_sentence(what: str) -> Iterator[None]:
    """Turn whatever code of others raises into one sentence.

    Raises:
        ErfToolsError: instead of it; errors of erf-tools and Ctrl+C stay as they are.
    """
    try:
        yield
    except (ErfToolsError, KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as error:
        raise ErfToolsError(
            f"{what} failed: it asked for the program to end (exit code {error.code!r})"
        ) from error
    except BaseException as error:
        raise ErfToolsError(f"{what} failed: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    kind, line = type(error).__name__, first_line(error)
    if isinstance(error, MemoryError) and line == kind:  # Python's own says nothing
        line = "there is not enough memory"
    return kind if line == kind else f"{kind}: {line}"
