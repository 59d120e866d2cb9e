"""An artifact's decision as text, JSON, JUnit, GitHub annotations or Markdown.

Whatever came out of telemetry is shown as text: control characters are escaped for terminals,
Markdown and annotation syntax is escaped for GitHub.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from analysis.errors import UsageError
from analysis.safe_text import figure as _figure
from analysis.safe_text import line as _text
from analysis.safe_text import markdown as _markdown

Body = Mapping[str, Any]
WORDS = {"ship": "SHIP", "hold": "HOLD", "block": "BLOCK"}
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}


def summary(body: Body) -> str:
    """The decision, and the checks that carry it: what a person reads first."""
    decision, release = body["decision"], body["release"]
    lines = [
        f"{WORDS[decision['outcome']]}  release {_text(release['id'])}",
        _text(decision["headline"]),
    ]
    carrying = [*decision["blocking"], *decision["holding"]]
    for check in body["checks"]:
        if check["id"] in carrying:
            lines.append(
                f"  {MARKS[check['outcome']]} {_text(check['id'])}: {_text(check['sentence'])}"
            )
            lines.append(f"      {_text(check['action'])}")
    needs = decision["needs"]
    if needs["interactions"] is not None:
        lines.append(
            f"To settle what more traffic can settle: about {needs['interactions']:,} interactions "
            f"over both windows, or a candidate window of {needs['days']:g} days at current traffic."
        )
    for watch in decision["watch"]:
        lines.append(
            f"  watch {_text(watch['what'])}: roll back above {_level(watch)}, for {watch['days']:g} days"
        )
    return "\n".join(lines)


def _level(watch: Mapping[str, Any]) -> str:
    """The limit of a rate in per cent, of anything else as it stands."""
    if watch["what"].endswith("rate"):
        return f"{100 * watch['limit']:.2f} %"
    return f"{watch['limit']:.4g}"


def as_text(body: Body) -> str:
    """The summary, then every check in one line."""
    lines = [summary(body), ""]
    width = max((len(_text(c["id"])) for c in body["checks"]), default=0)
    for c in body["checks"]:
        lines.append(
            f"{MARKS[c['outcome']]} {_text(c['id']):{width}}  {c['severity']:5}  {_text(c['sentence'])}"
        )
    return "\n".join(lines)


def as_json(body: Body) -> str:
    """Decision and checks, as in the artifact."""
    parts = {k: body[k] for k in ("release", "decision", "checks", "evidence_digest", "digest")}
    text = json.dumps(parts, ensure_ascii=True, indent=2, sort_keys=True)
    return text.replace("##", r"#\u0023")


def as_junit(body: Body) -> str:
    """One test case a check: a failed one fails where it blocks or holds, notes never do."""
    suite = TestSuite(f"release {_text(body['release']['id'])}")
    deciding = {*body["decision"]["blocking"], *body["decision"]["holding"]}
    for c in body["checks"]:
        case = TestCase(_text(c["id"]), classname=f"release-review.{c['view']}")
        message = _text(f"{c['sentence']} {c['action']}")
        if c["id"] in deciding:
            kind = Failure if c["outcome"] == "fail" else Error
            case.result = [kind(message, c["severity"])]
        elif c["outcome"] == "inconclusive":
            case.result = [Skipped(message)]
        suite.add_testcase(case)
    xml = JUnitXml("release-review")
    xml.add_testsuite(suite)
    text: bytes | str = xml.tostring()
    return text.decode() if isinstance(text, bytes) else text


def as_github(body: Body) -> str:
    """One workflow annotation a deciding check, and one notice for the decision."""
    decision = body["decision"]
    level = {"ship": "notice", "hold": "warning", "block": "error"}[decision["outcome"]]
    lines = [
        f"::{level} title={_property(WORDS[decision['outcome']])}::{_message(decision['headline'])}"
    ]
    for c in body["checks"]:
        if c["id"] in decision["blocking"]:
            lines.append(f"::error title={_property(c['id'])}::{_message(c['sentence'])}")
        elif c["id"] in decision["holding"]:
            lines.append(f"::warning title={_property(c['id'])}::{_message(c['sentence'])}")
    return "\n".join(lines)


def as_markdown(body: Body) -> str:
    """A comment for a pull request: the decision, then the table of checks."""
    decision = body["decision"]
    lines = [
        f"## {WORDS[decision['outcome']]}: release {_markdown(body['release']['id'])}",
        "",
        _markdown(decision["headline"]),
        "",
        "| | check | severity | value | 95 % interval | limit | what it says |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in body["checks"]:
        interval = (
            "–" if c["low"] is None or c["high"] is None else f"{c['low']:.4g} to {c['high']:.4g}"
        )
        lines.append(
            f"| {MARKS[c['outcome']]} {c['outcome']} | {_markdown(c['id'])} | {c['severity']} "
            f"| {_figure(c['value'])} | {interval} | {_figure(c['limit'])} | {_markdown(c['sentence'])} |"
        )
    lines += ["", f"Evidence `{body['evidence_digest']}`"]
    return "\n".join(lines)


def explain(body: Body, check_id: str) -> str:
    """What one check computed, from what, and how far it is from its limit."""
    by_id = {c["id"]: c for c in body["checks"]}
    if check_id not in by_id:
        close = difflib.get_close_matches(check_id, by_id, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(by_id)}"
        hint = _text(hint)
        raise UsageError(f"--explain {check_id}: no such check; {hint}")
    c = by_id[check_id]
    windows, unit = body["windows"], _text(c["unit"])
    lines = [
        f"{_text(c['id'])}: {c['outcome']} ({c['severity']})",
        _text(c["sentence"]),
        "",
        f"value       {_figure(c['value'])} {unit}",
        f"interval    {_figure(c['low'])} to {_figure(c['high'])} (95 %)",
        f"limit       {c['comparison'].replace('_', ' ')} {_figure(c['limit'])}",
    ]
    if c["value"] is not None and c["limit"] is not None:
        lines.append(f"distance    {abs(c['limit'] - c['value']):.4g} {unit} from the limit")
    lines.append(f"support     {c['support']:,} interactions")
    if c["p_value"] is not None:
        lines.append(
            f"p-value     {c['p_value']:.4g} one-sided; {_figure(c['p_adjusted'])} after Holm"
        )
    if c["reason"]:
        lines.append(f"reason      {_text(c['reason'])}")
    for name in ("baseline", "candidate"):
        side = windows[name]
        if side is not None:
            lines.append(
                f"{name:<11} {_text(side['start_utc'])} to {_text(side['end_utc'])}, "
                f"{side['n_interactions']:,} interactions"
            )
    lines += [
        f"compared    {windows['comparison'].replace('_', '/')}, clustered by {windows['cluster']}",
        f"to do       {_text(c['action'])}",
    ]
    return "\n".join(lines)


FORMATS: dict[str, Callable[[Body], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "github": as_github,
    "markdown": as_markdown,
}


def _message(value: str) -> str:
    return _text(value).replace("%", "%25")


def _property(value: str) -> str:
    return _message(value).replace(":", "%3A").replace(",", "%2C")
