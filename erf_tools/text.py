"""What is shown as text everywhere: sizes, errors, and names that are not ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Characters of an error's message that are shown.
_SHOWN = 200

#: The sign of a number that is rounded to zero, whatever stands behind it.
_SIGN_OF_ZERO = re.compile(r"^[-+](?=0(\.0*)?\D*$)")


def unsigned_zero(number: str) -> str:
    """Return a number as text, without its sign where it is rounded to zero: 0.00, not -0.00."""
    return _SIGN_OF_ZERO.sub("", number)


def dimensions(sides: Sequence[float], short: bool = False) -> str:
    """Return the sides of an image, map or kernel as text, height before width: ``224x256``.

    Args:
        sides: height and width; before them there may be the number of channels.
        short: of equal sides return one.
    """
    texts = [f"{side:.12g}" for side in sides]
    return texts[0] if short and len({*texts}) == 1 else "x".join(texts)


def listed(names: Iterable[str], last: str) -> str:
    """Return names as a list in a sentence, with a word before the last of them."""
    *others, end = names
    return f"{', '.join(others)} {last} {end}" if others else end


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def visible(text: str) -> str:
    r"""Return text with what could act on a terminal, or deceive a reader, as escapes.

    Control characters, ends of lines, marks that turn the direction of writing and bytes that are
    no UTF-8 become what Python writes for them: ``\x1b``, ``\n``, ``\u202e``, ``\udcff``.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, cut where long; its kind if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
