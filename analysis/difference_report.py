"""A comparison of two artifacts in words: text, Markdown for a pull request, or JSON.

Text and Markdown say the same, from the same lines. Whatever came out of telemetry or a policy goes through
the writer's `text`, and reaches the result as text alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.difference import (
    CheckChange,
    Comparison,
    HotspotChange,
    SettingChange,
    WindowChange,
    WordChange,
)
from analysis.difference_noise import ERROR_RATE, FigureChange, Unit
from analysis.safe_text import figure, json_text, line, markdown

MAX_LISTED = 20
_MAX_VALUE = 120
# No line begins with what came from elsewhere: the runners of CI look for commands there.
_ITEM = "- "
_VERDICTS = {
    "beyond_noise": "beyond noise",
    "within_noise": "within noise",
    "not_judged": "not judged",
}


@dataclass(frozen=True)
class _Writer:
    """text: escapes what is not ours. rows: makes the lines of a table."""

    text: Callable[[str], str]
    heading: str
    rows: Callable[[Sequence[Sequence[str]]], list[str]]


def as_json(found: Comparison) -> str:
    """All of it as JSON values."""
    return json_text(dataclasses.asdict(found))


def as_text(found: Comparison) -> str:
    return "\n".join(_lines(found, _Writer(line, "", _aligned)))


def as_markdown(found: Comparison) -> str:
    return "\n".join(_lines(found, _Writer(markdown, "### ", _table)))


def _lines(found: Comparison, w: _Writer) -> list[str]:
    before, after = found.before, found.after
    lines = [
        f"{w.heading}{before.outcome.upper()} → {after.outcome.upper()}: release "
        f"{w.text(before.release)} → {w.text(after.release)}",
        "",
        _decision(found, w),
    ]
    sections: list[tuple[str, list[str]]] = [
        ("What decides, and turned", [_check(c, w) for c in found.deciding]),
        ("Policy settings that differ", [_setting(s, w) for s in found.settings]),
        ("Other checks that turned", [_check(c, w) for c in found.checks if not c.decides]),
        (
            "Hotspots",
            [_hotspot(h, w) for h in found.hotspots if h.state != "common" or h.before != h.after],
        ),
        ("Drift severities that moved", [_word(d, w, "none") for d in found.drift]),
        (
            "Routing recommendations that changed",
            [_word(r, w, "not a candidate") for r in found.routing],
        ),
        ("Windows", [_window(v, w) for v in found.windows]),
        ("Input files", [_input(i.file, i.before, i.after, w) for i in found.inputs]),
    ]
    for place, (title, items) in enumerate(sections):
        if items:
            lines += ["", f"{w.heading}{title} ({len(items)})", ""]
            lines += [f"{_ITEM}{item}" for item in items[:MAX_LISTED]]
            if len(items) > MAX_LISTED:
                lines.append(f"{_ITEM}and {len(items) - MAX_LISTED:,} more")
        if place == 2:
            lines += _figures(found, w)
    return lines


def _decision(found: Comparison, w: _Writer) -> str:
    """In a sentence or two why the decision is what it is now."""
    before, after = found.before, found.after
    if before.digest == after.digest:
        return "The two are the same artifact."
    if found.same_evidence:
        return (
            "The evidence is the same: decision, checks, figures, windows and policy; what differs is "
            "what it was made of, or by."
        )
    if before.outcome == after.outcome:
        first = f"The decision is the same, {after.outcome}."
    else:
        first = f"The decision changed from {before.outcome} to {after.outcome}."
    turned = [c.id for c in found.deciding]
    if turned:
        why = f"What decides and turned: {', '.join(w.text(name) for name in turned[:5])}"
        first += f" {why}{f' and {len(turned) - 5} more' if len(turned) > 5 else ''}."
    elif before.outcome != after.outcome:
        first += " No check turned: the policy weighs them otherwise, or one of the two is a first release."
    beyond = [f for f in found.figures if f.verdict == "beyond_noise"]
    if any(f.verdict != "not_judged" for f in found.figures):
        named = ", ".join(_label(f, w) for f in beyond)
        first += f" Beyond noise: {named}." if beyond else " No headline figure moved beyond noise."
    return f"{first} {w.text(after.headline)}"


def _check(c: CheckChange, w: _Writer) -> str:
    name = w.text(c.id)
    if c.before is None:
        turned = f"is new, and {c.after} ({c.severity_after})"
    elif c.after is None:
        turned = f"is gone; it was {c.before} ({c.severity_before})"
    elif c.before == c.after:
        turned = f"still {c.after}, but {c.severity_before} → {c.severity_after}"
    elif c.severity_before != c.severity_after:
        turned = f"{c.before} ({c.severity_before}) → {c.after} ({c.severity_after})"
    else:
        turned = f"{c.before} → {c.after} ({c.severity_after})"
    said = "" if c.after is None else f". {w.text(c.sentence)}"
    if c.figure is None or c.figure.verdict == "not_judged":
        return f"{name}: {turned}{said}"
    verdict = _VERDICTS[c.figure.verdict]
    return f"{name}: {turned}{said} The figure itself moved {verdict}."


def _setting(s: SettingChange, w: _Writer) -> str:
    return f"{w.text(s.path)}: {_value(s.before, w)} → {_value(s.after, w)}"


def _value(value: Any, w: _Writer) -> str:
    shown = "not set" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return w.text(shown if len(shown) <= _MAX_VALUE else f"{shown[: _MAX_VALUE - 1]}…")


def _hotspot(h: HotspotChange, w: _Writer) -> str:
    where = ", ".join(
        f"{w.text(key)} = {'null' if held is None else w.text(held)}"
        for key, held in sorted(h.slice.items())
    )
    effect = {
        "new": f"effect {figure(h.after)}",
        "gone": f"effect was {figure(h.before)}",
        "common": f"effect {figure(h.before)} → {figure(h.after)}",
    }[h.state]
    return f"{h.state}: {where}; {w.text(h.metric)}, {w.text(h.kind)}; {effect}"


def _word(c: WordChange, w: _Writer, nothing: str) -> str:
    before, after = (
        nothing if held is None else w.text(held.replace("_", " ")) for held in (c.before, c.after)
    )
    why = f" ({w.text(c.reason)})" if c.reason else ""
    return f"{w.text(c.name)}: {before} → {after}{why}"


def _window(v: WindowChange, w: _Writer) -> str:
    before, after = (
        "none"
        if side is None
        else f"{w.text(side['start_utc'])} to {w.text(side['end_utc'])}, "
        f"{side['n_interactions']:,} interactions"
        for side in (v.before, v.after)
    )
    return f"{v.name}: {before} → {after}"


def _input(file: str, before: str | None, after: str | None, w: _Writer) -> str:
    if before is None or after is None:
        return f"{w.text(file)}: only in the {'second' if before is None else 'first'}"
    return f"{w.text(file)}: {w.text(before[:12])}… → {w.text(after[:12])}…"


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _figures(found: Comparison, w: _Writer) -> list[str]:
    moved = [f for f in found.figures if f.verdict != "not_judged" or f.before != f.after]
    if not moved:
        return []
    order = list(_VERDICTS)
    moved.sort(key=lambda f: order.index(f.verdict))
    title = f"Headline figures (p after Holm: {100 * ERROR_RATE:g} % over all of them together)"
    rows = [["figure", "before", "after", "change", "95 % interval", ""]]
    for f in moved:
        why = "" if f.reason is None or f.reason == found.dependent else f": {w.text(f.reason)}"
        if f.p_adjusted is not None:
            why = f" (p = {f.p_adjusted:.2g})"
        rows.append(
            [
                _label(f, w),
                _amount(f.before, f.unit),
                _amount(f.after, f.unit),
                _change(f.change, f.unit),
                "–" if f.low is None else f"{_change(f.low, f.unit)} to {_change(f.high, f.unit)}",
                f"{_VERDICTS[f.verdict]}{why}",
            ]
        )
    lines = ["", f"{w.heading}{title}", ""]
    if found.dependent is not None:
        lines += [f"Nothing is claimed: {found.dependent}.", ""]
    return lines + w.rows(rows)


_LABELS = {
    "cost_usd_per_interaction": "cost per interaction",
    "latency_ms_p50": "latency p50",
    "latency_ms_p95": "latency p95",
    "latency_ms_p99": "latency p99",
    "usd_per_day": "spend a day",
}


def _label(f: FigureChange, w: _Writer) -> str:
    first, _, rest = f.name.partition(".")
    words = _LABELS.get(first, first.replace("_", " "))
    return f"{words} of {w.text(rest)}" if rest else words


def _amount(value: float | None, unit: Unit) -> str:
    if value is None:
        return "–"
    return {
        "rate": f"{100 * value:.2f} %",
        "burn": f"{value:.2f}×",
        "usd": f"{value:.4g} USD",
        "ms": f"{value:,.0f} ms",
        "usd_per_day": f"{value:,.2f} USD",
    }[unit]


def _change(value: float | None, unit: Unit) -> str:
    """A difference, or a ratio as what it is more or less by."""
    if value is None:
        return "–"
    return {
        "rate": f"{100 * value:+.2f} points",
        "burn": f"{value:+.2f}",
        "usd": f"{100 * (value - 1):+.1f} %",
        "ms": f"{100 * (value - 1):+.1f} %",
        "usd_per_day": f"{value:+,.2f} USD",
    }[unit]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *rest]
