"""Small images in place of those that are to be analysed."""

from __future__ import annotations

#: Height and width, the smallest first; not square, so that rows, columns and channels differ.
_LEAST = ((64, 128), (256, 320))

#: Sizes are congruent to that of the images to be analysed modulo this, because "same" padding as
#: TensorFlow does it depends on the remainder of the side by the stride.
PERIOD = 64


def small_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return sizes on which a network does what it does on images of ``size``, the smallest first.

    Args:
        size: height and width of the images to be analysed.
    """
    height, width = (side % PERIOD for side in size)
    return [(least_height + height, least_width + width) for least_height, least_width in _LEAST]
