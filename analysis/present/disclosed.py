"""What every page of a share-safe review says of what it does not show."""

from __future__ import annotations

from dataclasses import replace

from analysis.present.blocks import Body, Parts, bullets, paragraph, say
from analysis.present.escape import Html

_RULE = (
    "Share-safe: counts below {k}, and what would give one away, are suppressed and stand as – or are left "
    "out. Other counts are rounded to the nearest {step}, and rates are those of rounded counts. The decision, "
    "its checks and the headline figures of whole windows are exact."
)
_MAX_LISTED = 12


def told(body: Body, page: str, parts: Parts) -> Parts:
    """The page, with what of it is suppressed, left out and masked below its evidence."""
    said = body.get("publication")
    if said is None:
        return parts
    return replace(parts, evidence=(*parts.evidence, _note(said, page)))


def _note(said: Body, page: str) -> Html:
    lines = [*_hidden(said, page), *_left_out(said, page), *_masked(said, page)]
    rule = _RULE.format(k=said["min_cell"], step=said["rounded_to"])
    return say(
        '<div class="rr-note rr-disclosed">{rule}{lines}</div>',
        rule=paragraph(rule),
        lines=bullets(lines) if lines else Html(""),
    )


def _hidden(said: Body, page: str) -> list[str]:
    own = [h for h in said["hidden"] if h["where"].split(".")[0] == page]
    lines = []
    for one in own[:_MAX_LISTED]:
        counts = [
            f"{n:,} {word if n == 1 else word + 's'}"
            for n, word in ((one["n_rows"], "row"), (one["n_values"], "value"))
            if n
        ]
        where = one["where"].removeprefix(f"{page}.").replace("_", " ").replace(".", ", ")
        lines.append(f"suppressed: {' and '.join(counts)} of {where}")
    more = len(own) - len(lines)
    return (
        lines
        if more <= 0
        else [*lines, f"suppressed at {more:,} more places; the artifact has all"]
    )


def _left_out(said: Body, page: str) -> list[str]:
    return [
        f"left out: {one['what']}, as {one['reason']}"
        for one in said["left_out"]
        if one["view"] == page
    ]


def _masked(said: Body, page: str) -> list[str]:
    """Told once, beside what was read."""
    if page != "contract":
        return []
    return [
        f"masked: {one['n_values']:,} values of {one['column']}, which go by a number"
        for one in said["masked"]
    ]
