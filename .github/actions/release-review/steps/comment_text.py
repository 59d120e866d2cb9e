"""The text of a pull request's comment and of the job's summary, in GitHub's Markdown.

Whatever is not written here came out of telemetry, policy or artifact, and is text (`plain`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from plain import markdown

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes in a comment."""
SUMMARY_LIMIT = 1_000_000
"""Bytes are what GitHub counts in a summary: 1 MiB."""
_MARGIN = 512
_ESSENTIAL = 4
_FEW = 20
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_OUTCOMES, _SEVERITIES = ("fail", "inconclusive", "pass"), ("block", "hold", "note")

Body = Mapping[str, Any]


def marker(key: str) -> str:
    """The first line of a comment: the hidden text by which it is found again."""
    # An HTML comment ends at -->: a key holds no such thing.
    return f"<!-- release-review: {quote(key, safe='/._-').replace('--', '%2D%2D')} -->"


def of_decision(
    body: Body,
    changes: str | None,
    links: Sequence[tuple[str, str]],
    warning: str | None = None,
) -> list[str]:
    """Parts of the text: what must stay, then rows that may go from the end on."""
    decision = body["decision"]
    by_id = {c["id"]: c for c in body["checks"]}
    lines = [
        f"## {decision['outcome'].upper()}: release {markdown(body['release']['id'], 120)}",
        "",
        markdown(decision["headline"]),
        "",
    ]
    if warning is not None:
        lines += [f"> **{markdown(warning)}**", ""]
    for name, word in (("blocking", "blocks"), ("holding", "holds")):
        ids = decision[name]
        lines += [_deciding(by_id[i], word) for i in ids[:_FEW] if i in by_id]
        if len(ids) > _FEW:
            lines.append(f"- and {len(ids) - _FEW} more, in the table")
    needs = decision["needs"]
    if needs["interactions"] is not None:
        lines += [
            "",
            f"To settle what more traffic can settle: about {needs['interactions']:,} interactions over "
            f"both windows, or a candidate window of {needs['days']:g} days at current traffic.",
        ]
    if decision["watch"]:
        lines += ["", "After shipping, watch:", ""]
        lines += [_watch(w) for w in decision["watch"][:_FEW]]
    head = "\n".join(lines)
    return [head, _foot(body, changes, links), *map(_row, ordered(body["checks"], decision))]


def of_violations(found: Body) -> list[str]:
    """The same parts, of telemetry that breaks its contract."""
    head = (
        "## No decision: the telemetry breaks its contract\n\n"
        f"{found['n_errors']} errors and {found['n_warnings']} warnings of {found['n_rules']} rules; "
        "no review was computed."
    )
    return [head, "", *map(_violation, found["violations"])]


def of_failure(why: str) -> list[str]:
    """The same parts, of a review that could not be computed."""
    told = "\n".join(f"> {markdown(line)}  " for line in why.splitlines()[:_FEW])
    return [f"## No decision: the review could not be computed\n\n{told}", ""]


def fitted(parts: Sequence[str], table: Sequence[str], limit: int, first: str = "") -> str:
    """The text, with as many rows of the table as `limit` leaves room for, and a word on the rest.

    table: title, header and rule of the table. Lengths are counted as GitHub counts at most, in
    UTF-16 units and in bytes.
    """
    head, foot, *rows = parts
    lines = [first, *head.split("\n")]
    room = limit - _MARGIN - _length("\n".join([*table, foot]))
    # The decision and its headline stay; of what explains them, whole lines go.
    while len(lines) > _ESSENTIAL and _length("\n".join(lines)) > room:
        lines.pop()
    room -= _length("\n".join(lines))
    kept = []
    for row in rows:
        room -= _length(row) + 1
        if room < 0:
            break
        kept.append(row)
    lines = lines if first else lines[1:]
    if kept:
        lines += [*table, *kept]
    if len(kept) < len(rows):
        lines += [
            "",
            f"{len(rows) - len(kept)} of {len(rows)} rows are left out, the least important: a comment "
            "has no room for them. The artifact has all.",
        ]
    return "\n".join([*lines, foot]).rstrip() + "\n"


CHECKS = (
    "",
    "### Checks",
    "",
    "| | check | severity | value | 95 % interval | limit | what it says |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)
VIOLATIONS = (
    "",
    "| | rule | table | column | rows | what to do |",
    "| --- | --- | --- | --- | --- | --- |",
)


def ordered(checks: Sequence[Body], decision: Body) -> list[Body]:
    """Most important first: what decides, then failed, open and passed by severity."""
    deciding = [*decision["blocking"], *decision["holding"]]

    def place(c: Body) -> tuple[int, int, int]:
        first = deciding.index(c["id"]) if c["id"] in deciding else len(deciding)
        return first, _OUTCOMES.index(c["outcome"]), _SEVERITIES.index(c["severity"])

    return sorted(checks, key=place)


def _deciding(check: Body, word: str) -> str:
    mark, name = MARKS[check["outcome"]], markdown(check["id"], 120)
    told = f"- {mark} **{name}** {word}: {markdown(check['sentence'])}"
    return f"{told}<br>To do: {markdown(check['action'])}" if check["action"] else told


def _watch(watch: Body) -> str:
    limit = watch["limit"]
    level = f"{100 * limit:.2f} %" if str(watch["what"]).endswith("rate") else f"{limit:.4g}"
    return f"- {markdown(watch['what'], 120)}: roll back above {level}, for {watch['days']:g} days"


def _row(c: Body) -> str:
    interval = "–" if None in (c["low"], c["high"]) else f"{c['low']:.4g} to {c['high']:.4g}"
    return (
        f"| {MARKS[c['outcome']]} {c['outcome']} | {markdown(c['id'], 120)} | {c['severity']} "
        f"| {_figure(c['value'])} | {interval} | {_figure(c['limit'])} | {markdown(c['sentence'])} |"
    )


def _violation(v: Body) -> str:
    mark = {"error": "✗", "warning": "!"}.get(v["severity"], "?")
    rows = f"{v['n_rows']:,}" if v["n_rows"] else "the table"
    return (
        f"| {mark} {markdown(v['severity'], 20)} | {markdown(v['rule'], 120)} "
        f"| {markdown(v['table'], 120)} | {markdown(v['column'] or '–', 120)} | {rows} "
        f"| {markdown(v['hint'])} |"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _foot(body: Body, changes: str | None, links: Sequence[tuple[str, str]]) -> str:
    lines = [""]
    if changes is not None and changes.strip():
        lines += ["## What changed since the base", "", _folded(changes.strip()), ""]
    good = [f"[{name}]({address})" for name, address in links if _is_address(address)]
    if good:
        lines += [" · ".join(good), ""]
    lines.append(
        f"Evidence `{_digest(body['evidence_digest'])}`, artifact `{_digest(body['digest'])}`"
    )
    return "\n".join(lines)


def _digest(text: str) -> str:
    return text if re.fullmatch(r"sha256:[0-9a-f]{64}", text) else "none"


def _is_address(text: str) -> bool:
    return re.fullmatch(r"https?://[A-Za-z0-9._~:/?#@%&=+-]+", text) is not None


_LONGEST_CHANGES = 20_000


def _folded(changes: str) -> str:
    """What `diff` wrote, which has escaped it: its answer, and behind a fold the rest."""
    paragraphs = _shortened(changes).split("\n\n")
    if len(paragraphs) <= _OPEN:
        return "\n\n".join(paragraphs)
    return "\n\n".join(
        [
            *paragraphs[:_OPEN],
            "<details><summary>All that changed</summary>",
            *paragraphs[_OPEN:],
            "</details>",
        ]
    )


_OPEN = 2


def _shortened(changes: str) -> str:
    """Cut between two paragraphs where it is long."""
    if _length(changes) <= _LONGEST_CHANGES:
        return changes
    kept = ""
    for paragraph in changes.split("\n\n"):
        if _length(kept) + _length(paragraph) > _LONGEST_CHANGES:
            break
        kept += f"{paragraph}\n\n"
    return f"{kept}The rest is left out; `python -m analysis diff` tells it."


def _length(text: str) -> int:
    return max(len(text.encode("utf-16-le")) // 2, len(text.encode("utf-8")))
