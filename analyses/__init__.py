"""Small programs on top of the library, one per claim: ``python -m analyses.NAME [--quick]``.

``erf_table``, ``shape_bias_figure``, ``erf_scaling``, ``kernel_cost``, ``small_maps``,
``identity_shortcut``, ``training_study`` and ``downstream`` examine what the RepLKNet paper says,
``large_kernels`` what the networks after it gain; ``perturbation`` whether maps of gradients show
what real changes do; ``coverage`` simulates how often intervals hold the truth; ``sweep_cost``
plans the ERFs of all of timm, ``sweep_overhead`` and ``benchmark`` time the library, and ``gpu``
does all that needs a card.
Each writes a table, a figure and provenance below ``results/``. ``fuzz`` compares random networks
with the literal loop, and prints.

They share :mod:`analyses.programs` (options, kept parts, written results), the networks of
:mod:`analyses.depthwise_networks` and :mod:`analyses.narrow_replknet`, and the images of
:mod:`analyses.shape_texture_images`. All else is a part of the program it is named after.
"""

from erf_tools.allocation import keep_freed_memory
from erf_tools.cores import share_cores

share_cores()  # before any of them imports torch
keep_freed_memory()

#: What the notebook of the claims remakes.
CLAIMS = (
    "erf_table",
    "shape_bias_figure",
    "erf_scaling",
    "kernel_cost",
    "small_maps",
    "identity_shortcut",
    "training_study",
    "downstream",
)

PROGRAMS = (
    *CLAIMS,
    "large_kernels",
    "perturbation",
    "coverage",
    "sweep_cost",
    "sweep_overhead",
    "benchmark",
    "gpu",
)
