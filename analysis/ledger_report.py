"""The history of releases as text, JSON, Markdown or CSV. Whatever a policy or telemetry wrote is text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence

from analysis.ledger_history import (
    ERROR_RATE,
    MEDIAN_OF,
    PLAIN,
    RATIOS,
    SHARES,
    Figure,
    History,
    Kind,
    Line,
    Regression,
)
from analysis.safe_text import markdown
from analysis.tables import safe_cell
from analysis.telemetry.violations import one_line

NONE = "–"
WORSE = "▲"
"""Marks a figure that is worse than at a reference, beyond noise."""
_NAMES: dict[Kind, str] = {
    "failure_rate": "failures",
    "latency_breach_rate": "latency breaches",
    "cost_usd": "USD per interaction",
    "usd_per_day": "USD a day",
    "burn_rate": "burn rate",
}
_NOTE = (
    f"{WORSE} worse than the release before, or than the median of the last {MEDIAN_OF} (of three at least), "
    f"beyond noise: one-sided {100 * ERROR_RATE:g} % over all comparisons of a release, of windows that share "
    "no moment"
)


def as_text(history: History) -> str:
    """A line a release, oldest first, and below it what is worse."""
    if not history.lines:
        return "no release is recorded"
    head = _head(history)
    rows = [_cells(line, history) for line in history.lines]
    widths = [max(len(r[c]) for r in [head, *rows]) for c in range(len(head))]

    def laid(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(w) if c < 3 else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    out = [laid(head)]
    for line, row in zip(history.lines, rows, strict=True):
        out.append(laid(row))
        out += [f"    {WORSE} {told}" for told in sentences(line)]
    return "\n".join([*out, "", _NOTE])


def as_markdown(history: History) -> str:
    """A table, and below it what is worse."""
    if not history.lines:
        return "No release is recorded."
    head = _head(history)
    lines = [_row(head), _row(["---"] * 3 + ["---:"] * (len(head) - 3), escaped=True)]
    lines += [_row(_cells(line, history)) for line in history.lines]
    worse = [(line, told) for line in history.lines for told in sentences(line)]
    if worse:
        lines += [
            "",
            *(f"- {markdown(line.release_id)}: {markdown(told)}" for line, told in worse),
        ]
    return "\n".join([*lines, "", f"{_NOTE}."])


def as_json(history: History) -> str:
    """Every figure with its interval, every finding, every regression; the faults of the ledger too."""
    releases = [
        {k: v for k, v in dataclasses.asdict(line).items() if k != "figures"}
        | {
            "figures": [
                {k: v for k, v in dataclasses.asdict(f).items() if k != "meaning"}
                for f in line.figures
            ]
        }
        for line in history.lines
    ]
    faults = [{"folder": f.folder, "problem": f.problem} for f in history.faults]
    text = json.dumps({"releases": releases, "faults": faults}, ensure_ascii=True, indent=2)
    return text.replace("##", r"#\u0023")


def as_csv(history: History) -> str:
    """A row a release, safe to open in a spreadsheet; `worse` names the figures that are worse."""
    head = ["release", "decision", "start_utc", "end_utc", "week", "interactions"]
    kinds: list[tuple[Kind, str | None]] = [(k, None) for k in PLAIN]
    kinds += [("burn_rate", slo) for slo in history.slos]
    for kind, slo in kinds:
        name = kind if slo is None else f"{kind}:{slo}"
        head += [name, f"{name}_low", f"{name}_high"]
    head += ["hotspots", "drift_high", "drift_medium", "drift_low", "worse", "digest"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_csv(name) for name in head])
    for line in history.lines:
        row: list[object] = [line.release_id, line.outcome, line.start_utc, line.end_utc, line.week]
        row.append(line.n_interactions)
        for kind, slo in kinds:
            figure = line.figure(kind, slo)
            row += [None] * 3 if figure is None else [figure.value, figure.low, figure.high]
        drift = line.drift
        row += [
            len(line.hotspots),
            *([None] * 3 if drift is None else [drift.high, drift.medium, drift.low]),
        ]
        row += ["; ".join(dict.fromkeys(_named(one) for one in line.regressions)), line.digest]
        writer.writerow([_csv(value) for value in row])
    return buffer.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[History], str]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "csv": as_csv,
}


def sentences(line: Line) -> list[str]:
    """What is worse at a release: a sentence a figure, with what it is worse than."""
    by_figure: dict[tuple[Kind, str | None], list[Regression]] = {}
    for one in line.regressions:
        by_figure.setdefault((one.kind, one.slo), []).append(one)
    return [
        f"{_named(own[0])} rose to {_value(own[0].kind, own[0].value)}: {'; '.join(_from(own))}"
        for own in by_figure.values()
    ]


def _from(own: Sequence[Regression]) -> list[str]:
    """Of one figure: from what, by how much. The median may be the release before."""
    same = len({one.reference for one in own}) == 1 < len(own)
    names = {"previous": "the release before", "median": "the median of those before"}
    too = ", the median too" if same else ""
    return [
        f"from {_value(one.kind, one.before)} at {names[one.against]} ({_text(one.reference)}){too}, "
        f"{_change(one)}"
        for one in (own[:1] if same else own)
    ]


def _change(one: Regression) -> str:
    if one.kind in RATIOS:
        return f"{one.change:.2f} times ({one.low:.2f} to {one.high:.2f})"
    scale, unit = (100, " pp") if one.kind in SHARES else (1, "")
    return f"by {scale * one.change:.2f}{unit} ({scale * one.low:.2f} to {scale * one.high:.2f})"


# ── cells ────────────────────────────────────────────────────────────────────────────────


def _head(history: History) -> list[str]:
    return [
        "release", "decision", "until, UTC", *(_NAMES[k] for k in PLAIN),
        *(f"burn {_text(slo)}" for slo in history.slos), "hotspots", "drift h/m/l",
    ]  # fmt: skip


def _cells(line: Line, history: History) -> list[str]:
    worse = {(one.kind, one.slo) for one in line.regressions}
    kinds: list[tuple[Kind, str | None]] = [(k, None) for k in PLAIN]
    kinds += [("burn_rate", slo) for slo in history.slos]
    figures = [_marked(line.figure(kind, slo), kind, (kind, slo) in worse) for kind, slo in kinds]
    drift = (
        NONE if line.drift is None else f"{line.drift.high}/{line.drift.medium}/{line.drift.low}"
    )
    name = _text(line.release_id)
    at_hand = line.folder is None
    return [
        f"{name} (not recorded)" if at_hand else name, line.outcome.upper(), line.end_utc[:10],
        *figures, str(len(line.hotspots)), drift,
    ]  # fmt: skip


def _marked(figure: Figure | None, kind: Kind, worse: bool) -> str:
    if figure is None or figure.value is None:
        return NONE
    return f"{WORSE} {_value(kind, figure.value)}" if worse else _value(kind, figure.value)


def _value(kind: Kind, value: float) -> str:
    if kind in SHARES:
        return f"{100 * value:.2f} %"
    return f"{value:.2f}" if kind != "cost_usd" else f"{value:.4f}"


def _named(one: Regression) -> str:
    return _NAMES[one.kind] if one.slo is None else f"{_NAMES[one.kind]} {_text(one.slo)}"


def _text(value: str) -> str:
    return one_line(value, 80)


def _csv(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.12g}"
    return safe_cell(one_line(value, 1000)) if isinstance(value, str) else value


def _row(cells: Sequence[str], escaped: bool = False) -> str:
    return f"| {' | '.join(cells if escaped else map(markdown, cells))} |"
