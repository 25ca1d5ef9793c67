"""Answers as HTML. Every name is escaped here: what a user typed or uploaded is text, never markup.

Gradio puts these strings into the page as they are, in place of ``${value}``; in any other template
of its own it would run what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite

from erf_tools.erf.cautions import field_contradicted
from erf_tools.explorer.answers import Answer, CheckedUnit
from erf_tools.text import dimensions, unsigned_zero

HINT = "Click a pixel, or use the arrow keys to go from unit to unit."


def picture(answer: Answer, address: str) -> str:
    """Return the picture as a button that knows where its units are.

    Args:
        answer: what it shows.
        address: of the image.
    """
    height, width = answer.contribution.shape
    y, x = answer.center
    places = {
        "height": height,
        "width": width,
        "row": f"{y:g}",
        "column": f"{x:g}",
        "down": f"{answer.field.stride[0]:g}",
        "across": f"{answer.field.stride[1]:g}",
    }
    data = " ".join(f'data-{name}="{value}"' for name, value in places.items())
    return (
        f'<button type="button" class="erf-picture" {data}>'
        f'<img src="{escape(address)}" alt="{escape(in_words(answer))}"></button>'
    )


def in_words(answer: Answer) -> str:
    """Return what the picture shows, for those who do not see it."""
    row, column = answer.unit
    y, x = answer.center
    size = dimensions(answer.contribution.shape)
    square = answer.square(0.5)
    spread = (
        f"half of the contribution comes from the square of rows {square[0]} to {square[1] - 1} "
        f"and columns {square[2]} to {square[3] - 1}"
        if square
        else "no pixel contributes: every channel of the unit is off"
    )
    return (
        f"{answer.picture.name}, {size} pixels, and over it what the unit in row "
        f"{row}, column {column} of {answer.layer} of {answer.label} looks at; its centre is at "
        f"pixel row {y:g}, column {x:g}, and {spread}. {HINT}"
    )


def facts(answer: Answer, smooth: bool) -> str:
    """Return the numbers, the predictions and the decision beside a picture.

    Args:
        answer: what it shows.
        smooth: whether the map is shown smoothed.
    """
    row, column = answer.unit
    y, x = answer.center
    stride = dimensions(answer.field.stride, short=True)
    pairs = [
        ("Unit", f"row {row}, column {column} of {dimensions(answer.units)}"),
        ("True centre", f"pixel row {y:g}, column {x:g}; a unit every {stride} pixels"),
        ("Shown", _shown(answer) if smooth else "the map as it is, pixel by pixel"),
        ("Half of the contribution", _square(answer, 0.5)),
        ("99 % of it", _square(answer, 0.99)),
        ("Theoretical receptive field", _field(answer)),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    head = f'<p role="status"><strong>{escape(answer.label)}</strong>, {escape(answer.layer)}</p>'
    noted = f"{_caution(answer)}{_decision(answer)}{_seen(answer)}"
    return f'<div class="erf-facts">{head}<dl>{listed}</dl>{noted}</div>'


def check(checked: CheckedUnit, gradient: str, change: str) -> str:
    """Return what the check of a unit gave: two maps and how far they agree.

    Args:
        checked: what was found.
        gradient: address of the picture of the gradient's map.
        change: address of the picture of real changes.
    """
    cells = dimensions(checked.cells)
    agreed = (
        unsigned_zero(f"{checked.spearman:.2f}")
        if isfinite(checked.spearman)
        else "none: a map is the same everywhere"
    )
    maps = [
        (gradient, "What the gradient says", "mean contribution of each cell"),
        (change, "What really happens", "change of the unit where each cell is replaced"),
    ]
    figures = "".join(
        f'<figure><img src="{escape(address)}" alt="{escape(words)}, over the image">'
        f"<figcaption><strong>{title}</strong>: {words}</figcaption></figure>"
        for address, title, words in maps
    )
    return (
        f'<div class="erf-check"><p role="status">Spearman\'s rank correlation: '
        f"<strong>{agreed}</strong>, over the {checked.reached} cells of {cells} that reach the "
        "unit. Each was replaced by the image's mean colour. 1 is a map in the right order; of one "
        f"image there is no interval.</p>{figures}</div>"
    )


def refusal(message: str) -> str:
    """Return a sentence that says why there is nothing to show."""
    return f'<p class="erf-refusal" role="alert">{escape(message)}</p>'


def legend(colours: Sequence[str], faintest: float, strongest: float, square: str) -> str:
    """Return what the colours and the marks of all pictures mean."""
    gradient = ", ".join(colours)
    return (
        '<div class="erf-legend"><p>Contribution of a pixel, where 1 is that of a uniform map: '
        "below it the image is left grey. The scale is the same for all models and clicks.</p>"
        f'<div class="erf-scale"><span>{faintest:g}</span>'
        f'<span class="erf-bar" role="img" aria-label="colour scale from black over purple and '
        f'orange to pale yellow" style="background: linear-gradient(to right, {gradient})"></span>'
        f"<span>{strongest:g} and more</span></div>"
        f'<p><span class="erf-key" style="border-color: {square}"></span> the smallest square '
        "about the unit that holds half of the contribution; + the unit's true centre</p></div>"
    )


def _square(answer: Answer, threshold: float) -> str:
    found = answer.square(threshold)
    if not found:
        return "no pixel contributes"
    top, bottom, left, right = found
    share = answer.share_of_image(threshold)
    return f"in {dimensions((bottom - top, right - left))} pixels, {share:.1%} of the image"


def _shown(answer: Answer) -> str:
    return (
        f"smoothed, Gaussian of sigma {answer.smoothing:.1f} pixels; all numbers are of the raw map"
    )


def _field(answer: Answer) -> str:
    return f"{answer.field.in_words}{' pixels' if answer.field.size else ''}"


def _caution(answer: Answer) -> str:
    if answer.contradicted is None:
        return ""
    said = f"Caution: {field_contradicted(answer.contradicted)}."
    return f'<p class="erf-caution">{escape(said)}</p>'


def _decision(answer: Answer) -> str:
    made = answer.decision
    if made is None:
        return ""
    cue = {
        "shape": f"the shape's category (texture: {made.texture})",
        "texture": f"the texture's category (shape: {made.shape})",
        "neither": f"neither the shape's ({made.shape}) nor the texture's ({made.texture})",
    }[made.cue]
    return (
        '<p class="erf-decision">Decision among the 16 categories: '
        f"<strong>{escape(made.category)}</strong>, {escape(cue)}.</p>"
    )


def _seen(answer: Answer) -> str:
    if not answer.trained:
        return "<p>Untrained: it has not learned any class.</p>"
    if not answer.predictions:
        return "<p>No ImageNet-1K classes to predict.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{probability:.1%}</td></tr>'
        for name, probability in answer.predictions
        if isfinite(probability)
    )
    return (
        "<table><caption>What it takes the image for</caption><thead><tr>"
        '<th scope="col">Class</th><th scope="col">Probability</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
