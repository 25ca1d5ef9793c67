"""Text that is not ours, shown: names of files, of keys, of networks."""

from __future__ import annotations


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
