"""The folder of a sweep: what is done, what failed and why, and what is missing.

All a sweep knows lies in files that appear whole or not at all, so that it goes on after any end.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.errors import UsageError
from erf_tools.failures import reason
from erf_tools.files import (
    atomic_path,
    canonical_json,
    file_sha256,
    read_json,
    remove,
    remove_partial_files,
    understood,
    write_json,
)
from erf_tools.models.hub import changed_since
from erf_tools.sweep.outcome import Failure
from erf_tools.sweep.plan import Measurement, Plan, Unit
from erf_tools.sweep.study import MOST_THREADS
from erf_tools.sweep.tasks import KINDS


class SweepFolder:
    """The output folder of a sweep.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._plan = path / "plan.json"
        self._units, self._failures = path / "units", path / "failures"
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def remove_partial_files(self) -> None:
        """Remove what writers that were killed have left; nobody else may be at work."""
        remove_partial_files([self.path, self._units, self._failures])
        for place in (self.path / kind.table for kind in KINDS):
            remove_partial_files(path for path in place.rglob("*/") if path.is_dir())
            remove_partial_files([place])

    def part(self, unit: str) -> Path:
        """Return where a unit's part of the result goes."""
        return self._units / f"{unit}.npz"

    def has_done(self, unit: Unit) -> bool:
        """Tell whether a unit needs nothing more."""
        return self.part(unit.id).exists() or self.rows(unit.measurement) is not None

    def has_parts(self, measurement: Measurement) -> bool:
        """Tell whether all units of a measurement have been done."""
        return all(self.part(unit).exists() for unit in measurement.units)

    def begin_result(self, measurement: Measurement) -> None:
        """Forget the result of another setting that is about to be written over."""
        if self.rows(measurement) is None:
            remove(self.path / measurement.marker)

    def finish(self, measurement: Measurement, rows: pd.DataFrame, hub: str = "") -> None:
        """Record a measurement's rows, after everything else is written, and drop its parts.

        Args:
            measurement: the measurement.
            rows: with a column ``file``: where each result lies, below the sweep's folder.
            hub: version of its weights, where they come from a model hub.

        Raises:
            OutputError: the rows cannot be written.
        """
        files = [
            [file, *(Path(file).with_suffix(end).as_posix() for end in measurement.task.beside)]
            for file in rows["file"]
        ]
        rows = rows.assign(
            identity=measurement.id,
            hub=hub,
            written=[canonical_json({file: self._sha256(file) for file in own}) for own in files],
        )
        stored = pd.read_parquet(BytesIO(rows.to_parquet(index=False)))  # as it will be read
        with atomic_path(self.path / measurement.marker) as temporary:
            stored.assign(sha256=_rows_sha256(stored)).to_parquet(temporary, index=False)
        self.forget_failures(measurement.units)
        self.drop_parts(measurement)

    def drop_parts(self, measurement: Measurement) -> None:
        """Remove all parts of a measurement."""
        for unit in measurement.units:
            remove(self.part(unit))

    def rows(self, measurement: Measurement) -> pd.DataFrame | None:
        """Return the rows of a finished measurement; ``None`` if it, or a file of it, is not there.

        A file that is not as it was written counts as none, and so does a result of other weights
        than the model hub's cache holds now.
        """
        return self._rows(measurement.marker, measurement.id)

    def _rows(self, marker: str, identity: str) -> pd.DataFrame | None:
        path = self.path / marker
        if not path.is_file():
            return None
        with suppress(OSError, UsageError), understood(path):
            rows = pd.read_parquet(path)
            digests = rows.pop("sha256")
            known = set(digests) == {_rows_sha256(rows)} and set(rows["identity"]) == {identity}
            known &= not any(map(changed_since, {*rows.get("hub", ())}))
            written = [item for own in rows["written"] for item in json.loads(own).items()]
            if known and all(self._sha256(file) == digest for file, digest in written):
                return rows.drop(columns=["identity", "written", "hub"], errors="ignore")
        return None

    def _sha256(self, file: str) -> str:
        """Return the digest of a file below the folder, which is read once as long as it stays."""
        path = self.path / file
        now = path.stat()
        key = file, now.st_ino, now.st_size, now.st_mtime_ns
        if key not in self._digests:
            self._digests[key] = file_sha256(path)
        return self._digests[key]

    def results(self, plan: Plan) -> dict[str, pd.DataFrame]:
        """Return the rows of all finished measurements by identity, and drop what parts they left.

        A sweep that was killed between the two may have left some.
        """
        found = {
            each.id: rows for each in plan.measurements if (rows := self.rows(each)) is not None
        }
        for measurement in plan.measurements:
            if measurement.id in found:
                self.drop_parts(measurement)
        return found

    def fail(self, unit: Unit, failure: Failure) -> None:
        """Record why a unit failed.

        Raises:
            OutputError: it cannot be written.
        """
        record = {
            "model": unit.measurement.request.model,
            "protocol": unit.measurement.task.title,
            "images": [unit.names[0], unit.names[-1]],
            "reason": failure.reason,
            "host": socket.gethostname(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "traceback": failure.traceback,
        }
        write_json(self._failures / f"{unit.id}.json", record)

    def failures(self) -> dict[str, str]:
        """Return the reasons of recorded failures by unit."""
        found = {}
        for path in sorted(self._failures.glob("*.json")):
            with suppress(UsageError):
                found[path.stem] = str(read_json(path).get("reason", "not recorded"))
        return found

    def forget_failures(self, units: Sequence[str]) -> None:
        """Remove the records of failed units, so that they are tried again."""
        for unit in units:
            remove(self._failures / f"{unit}.json")

    def pending(self, plan: Plan, retry_failed: bool = False) -> list[Unit]:
        """Return the units that are neither done nor failed, in the plan's order.

        A measurement whose units are all done but whose result is missing has its last one pending.

        Args:
            plan: the plan.
            retry_failed: return those that failed as well.
        """
        failed = {} if retry_failed else self.failures()
        parts = {path.stem for path in self._units.glob("*.npz")}
        unfinished = {each.id for each in plan.measurements if self.rows(each) is None}
        return [
            unit
            for unit in plan.units
            if unit.measurement.id in unfinished
            and unit.id not in failed
            and (unit.id not in parts or _last_of_whole(unit, parts))
        ]

    def status(self) -> pd.DataFrame:
        """Return a row per measurement of the last plan: how many units are done, failed, missing.

        Columns: ``model``, ``weights``, ``protocol``, ``images``, ``units``, ``done``, ``failed``,
        ``missing``, and the ``reason`` of the first failure.

        Raises:
            UsageError: no sweep has begun here.
        """
        failures = self.failures()
        parts = {path.stem for path in self._units.glob("*.npz")}
        rows = []
        with self._understood():
            for measurement in self._record()["measurements"]:
                units = measurement["units"]
                finished = self._rows(measurement["marker"], measurement["id"]) is not None
                failed = [] if finished else [unit for unit in units if unit in failures]
                done = len(units) if finished else len(parts.intersection(units) - {*failed})
                row = {key: measurement[key] for key in ("model", "weights", "protocol", "images")}
                row |= {"units": len(units), "done": done, "failed": len(failed)}
                row["missing"] = len(units) - done - len(failed)
                rows.append({**row, "reason": failures[failed[0]] if failed else ""})
        return pd.DataFrame(rows)

    @property
    def threads(self) -> int | None:
        """Number of threads of the last plan; ``None`` before the first."""
        if not self._plan.exists():
            return None
        with self._understood():
            threads = self._record()["threads"]
            if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
                raise ValueError(f"{threads} threads")
            return threads

    def save_plan(self, plan: Plan) -> None:
        """Keep a plan for the status.

        Raises:
            OutputError: it cannot be written.
        """
        write_json(self._plan, plan.record())

    def _record(self) -> dict[str, Any]:
        if not self._plan.exists():
            raise UsageError(f"no sweep has begun in {self.path}")
        try:
            return read_json(self._plan)
        except UsageError as error:
            raise UsageError(f"{error}; remove it, and run the sweep again") from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{self._plan} is damaged ({reason(error)}); remove it") from error


def _rows_sha256(rows: pd.DataFrame) -> str:
    values = pd.util.hash_pandas_object(rows, index=False).to_numpy()
    return sha256(canonical_json([*rows]).encode() + values.tobytes()).hexdigest()


def _last_of_whole(unit: Unit, parts: set[str]) -> bool:
    units = unit.measurement.units
    return unit.id == units[-1] and parts.issuperset(units)
