"""Which cues are suppressed, by what, and how strongly: one row each.

To add a suppression, write its function in :mod:`erf_tools.reliance.filters` and its row in
:data:`SUPPRESSIONS`; options, tables, figures and pages follow from the row.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erf_tools.errors import UsageError, suggestion
from erf_tools.reliance import filters

#: Side of the images that are changed, pixels.
SIDE = 224

BURGERT = (
    "Burgert et al., ImageNet-trained CNNs are not biased towards texture: revisiting feature "
    "reliance through controlled suppression, NeurIPS 2025 (arXiv 2509.20234)"
)
GAVRIKOV = "Gavrikov et al., Can we talk models into seeing the world differently?, ICLR 2025"
SUBRAMANIAN = (
    "Subramanian et al., Spatial-frequency channels, shape bias, and adversarial robustness, "
    "NeurIPS 2023 (arXiv 2309.13190)"
)


@dataclass(frozen=True)
class Step:
    """One change of an image.

    Attributes:
        function: of :mod:`erf_tools.reliance.filters`.
        arguments: its parameters.
    """

    function: Callable[..., np.ndarray]
    arguments: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The change in words: the same for the same change in every suppression."""
        return f"{self.function.__name__}({', '.join(f'{each:g}' for each in self.arguments)})"

    def __call__(self, pixels: np.ndarray, words: Sequence[int]) -> np.ndarray:
        """Change an image; what is random is drawn from the step's name and from ``words``."""
        generator = np.random.default_rng([*words, zlib.crc32(self.name.encode())])
        return self.function(pixels, generator, *self.arguments)


@dataclass(frozen=True)
class Strength:
    """How strongly a cue is suppressed.

    Attributes:
        label: its parameters, for people.
        steps: what is done, one after another.
    """

    label: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Suppression:
    """A way to suppress a cue.

    Attributes:
        name: on the command line and in tables.
        cue: what it suppresses.
        title: for people.
        strengths: from the weakest to the strongest.
        source: where it is published.
    """

    name: str
    cue: str
    title: str
    strengths: tuple[Strength, ...]
    source: str = BURGERT

    def record(self) -> dict[str, Any]:
        """Return what is done to images, as JSON values."""
        steps = {each.label: [step.name for step in each.steps] for each in self.strengths}
        return {"cue": self.cue, "strengths": steps, "source": self.source}


def _each(
    function: Callable[..., np.ndarray], label: str, *parameters: tuple[float, ...]
) -> tuple[Strength, ...]:
    return tuple(Strength(label.format(*own), (Step(function, own),)) for own in parameters)


def _with(
    strengths: Iterable[Strength], before: tuple[Step, ...] = (), after: tuple[Step, ...] = ()
) -> tuple[Strength, ...]:
    """Return strengths with steps before and after their own."""
    return tuple(Strength(each.label, (*before, *each.steps, *after)) for each in strengths)


_GRIDS = tuple((grid,) for grid in (2, 4, 6, 8, 10, 12, 14, 16))
_SHUFFLE = _each(filters.shuffle_cells, "{0} x {0} cells", *_GRIDS)
_ROTATION = _each(filters.rotate_cells, "{0} x {0} cells", *_GRIDS)
_BILATERAL = _each(
    filters.bilateral,
    "d {0}, sigma {1}",
    *((4, 50), (6, 80), (8, 110), (10, 140), (12, 170), (14, 200)),
)
_BLUR = _each(
    filters.gaussian_blur,
    "sigma {1}",
    *((3, 0.33), (5, 0.66), (7, 1), (9, 1.33), (11, 1.66), (13, 2), (15, 2.33)),
)
_MEANS = _each(filters.non_local_means, "h {0}", (5,), (10,), (15,), (20,), (25,))
_GRAY = _each(filters.blend_with_gray, "{0:.0%} grey", (0.2,), (0.4,), (0.6,), (0.8,), (1,))
_CUTOFFS = (0.01, *(index / 10 for index in range(1, 10)), 0.99)
_LOW = _each(filters.low_pass, "below {0}", *((each,) for each in reversed(_CUTOFFS)))
_HIGH = _each(filters.high_pass, "above {0}", *((each,) for each in _CUTOFFS))

#: The cue of what is measured on images of low contrast only; no part of ``all``.
CRITICAL_BAND = "critical-band"
#: Of that: the images without noise.
LOW_CONTRAST = "low-contrast"
#: Edges of its octaves, in cycles per image.
BANDS = tuple((SIDE / 2 ** (8 - place), SIDE / 2 ** (7 - place)) for place in range(7))

_CONTRAST = Step(filters.low_contrast, (0.2, 0.449))
_DEVIATIONS = (0.02, 0.04, 0.08, 0.16)


def _noise(low: float, high: float) -> tuple[Strength, ...]:
    own = _each(filters.band_noise, "SD {2}", *((low, high, each) for each in _DEVIATIONS))
    return _with(own, before=(_CONTRAST,))


def _named(*rows: Suppression) -> dict[str, Suppression]:
    return {row.name: row for row in rows}


#: All there are, by name.
SUPPRESSIONS = _named(
    Suppression("patch-shuffle", "global-shape", "patch shuffle", _SHUFFLE),
    Suppression("patch-rotation", "global-shape", "patch rotation", _ROTATION),
    Suppression("bilateral", "texture", "bilateral filter", _BILATERAL),
    Suppression("gaussian-blur", "texture", "Gaussian blur", _BLUR),
    Suppression("non-local-means", "texture", "non-local means", _MEANS),
    Suppression("gray", "color", "blend with grey", _GRAY),
    Suppression(
        "channels", "color", "channels permuted", _each(filters.permute_channels, "permuted", ())
    ),
    Suppression(
        "shuffle-gray",
        "global-shape+color",
        "shuffle, then grey",
        _with(_SHUFFLE, after=_GRAY[-1].steps),
    ),
    Suppression(
        "bilateral-shuffle",
        "texture+global-shape",
        "bilateral (12, 170), then shuffle",
        _with(_SHUFFLE, before=_BILATERAL[4].steps),
    ),
    Suppression(
        "bilateral-gray",
        "texture+color",
        "bilateral, then grey",
        _with(_BILATERAL, after=_GRAY[-1].steps),
    ),
    Suppression("low-pass", "high-frequencies", "low-pass", _LOW, GAVRIKOV),
    Suppression("high-pass", "low-frequencies", "high-pass", _HIGH, GAVRIKOV),
    Suppression(
        LOW_CONTRAST,
        CRITICAL_BAND,
        "grey, contrast .2",
        (Strength("no noise", (_CONTRAST,)),),
        SUBRAMANIAN,
    ),
    *(
        Suppression(
            f"noise-{place}",
            CRITICAL_BAND,
            f"noise, {low:g} to {high:g} cycles",
            _noise(low, high),
            SUBRAMANIAN,
        )
        for place, (low, high) in enumerate(BANDS, 1)
    ),
)


def chosen(cues: str) -> tuple[Suppression, ...]:
    """Return the suppressions that are asked for, in the order of the table.

    Args:
        cues: ``all``, which is all but :data:`CRITICAL_BAND`; or names of cues and of
            suppressions, with commas.

    Raises:
        UsageError: there is no such cue or suppression.
    """
    wanted = [name.strip() for name in cues.split(",") if name.strip()]
    known = ["all", *SUPPRESSIONS, *dict.fromkeys(row.cue for row in SUPPRESSIONS.values())]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--cues: there is no cue {name!r}: {suggestion(name, known)}")
    rows = tuple(
        row
        for row in SUPPRESSIONS.values()
        if {row.name, row.cue} & set(wanted) or ("all" in wanted and row.cue != CRITICAL_BAND)
    )
    of_bands = [row for row in rows if row.cue == CRITICAL_BAND]
    if of_bands and len(of_bands) < 1 + len(BANDS):
        raise UsageError(
            f"--cues: {of_bands[0].name} says nothing alone; bands are measured together, by "
            f"{CRITICAL_BAND}"
        )
    if not rows:
        raise UsageError(f"--cues is empty; it is all, or some of {', '.join(known[1:])}")
    if any(needs_opencv(row) for row in rows):
        filters.opencv()
    return rows


def asking_for(rows: Sequence[Suppression]) -> str:
    """Return what :func:`chosen` has to be asked for these rows."""
    others = [row.name for row in rows if row.cue != CRITICAL_BAND]
    everything = sum(row.cue != CRITICAL_BAND for row in SUPPRESSIONS.values())
    asked = ["all"] if len(others) == everything else others
    return ",".join(asked if len(others) == len(rows) else [*asked, CRITICAL_BAND])


def recorded(setting: Mapping[str, Any]) -> tuple[Suppression, ...]:
    """Return the suppressions that a result's setting names, in the order of the table.

    Raises:
        KeyError: one is not known here.
    """
    wanted = {SUPPRESSIONS[name].name for name in setting["suppressions"]}
    return tuple(row for row in SUPPRESSIONS.values() if row.name in wanted)


def needs_opencv(row: Suppression) -> bool:
    """Tell whether a suppression is one of OpenCV's filters, whose version then matters."""
    own = {filters.bilateral, filters.gaussian_blur, filters.non_local_means}
    return any(step.function in own for each in row.strengths for step in each.steps)


def variants(rows: Sequence[Suppression]) -> Iterator[tuple[Suppression, int, Strength]]:
    """Yield each suppression at each strength, which are numbered from 1."""
    for row in rows:
        for number, strength in enumerate(row.strengths, 1):
            yield row, number, strength


def suppress(
    pixels: np.ndarray, rows: Sequence[Suppression], sha256: str, seed: int = 0
) -> np.ndarray:
    """Return an image as it is, and under each suppression at each strength.

    What is random depends on the seed, the image and the step alone: every network is shown the
    same, and a shuffle by one grid is the same shuffle with colour and without. A step that several
    suppressions begin with is done once.

    Args:
        pixels: uint8 ``[height, width, 3]``, in RGB.
        rows: the suppressions.
        sha256: of the image, in hexadecimal.
        seed: of the random choices.

    Returns:
        uint8 ``[1 + variants, height, width, 3]``, in the order of :func:`variants`.
    """
    done: dict[tuple[Step, ...], np.ndarray] = {(): pixels}

    def after(steps: tuple[Step, ...]) -> np.ndarray:
        if steps not in done:
            *earlier, last = steps
            done[steps] = last(after(tuple(earlier)), [seed, int(sha256[:16], 16)])
        return done[steps]

    return np.stack([pixels, *(after(strength.steps) for _, _, strength in variants(rows))])
