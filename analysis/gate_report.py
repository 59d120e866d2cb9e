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
    for waived in decision["waived"]:
        lines.append(
            f"  waived {_text(waived['check'])} ({waived['outcome']}): {_text(waived['owner'])} until "
            f"{_text(waived['expires_utc'])}, {_text(waived['reason'])}"
        )
    lines += [f"  {line}" for line in _needed(decision)]
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


def _needed(decision: Mapping[str, Any]) -> list[str]:
    """What would settle each open check that holds, one line each."""
    lines = []
    for one in decision["needs"]["checks"]:
        if one["label"] is not None:
            what = f"values of {_text(one['label'])}"
        elif one["more_interactions"] is None:
            what = "what its reason says; more traffic alone is not known to settle it"
        else:
            what = (
                f"about {one['more_interactions']:,} more interactions, {one['more_days']:g} more days "
                "at current traffic"
            )
        lines.append(f"{_text(one['check'])} needs {what}")
    return lines


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
    lines += [*_turning(body), "", f"Evidence `{body['evidence_digest']}`"]
    return "\n".join(lines)


def _turning(body: Body) -> list[str]:
    """What is waived, what would settle what holds, and what would turn each deciding check."""
    decision = body["decision"]
    lines = [
        f"- Waived: {_markdown(w['check'])} ({w['outcome']}), by {_markdown(w['owner'])} until "
        f"{_markdown(w['expires_utc'])}: {_markdown(w['reason'])}"
        for w in decision["waived"]
    ]
    lines += [f"- {_markdown(line)}" for line in _needed(decision)]
    if decision["outcome"] != "ship":
        lines += [
            f"- {_markdown(f['check'])}: {_markdown(f['data'])}"
            + (f" Or, in the policy: {_markdown(f['policy'])}" if f["policy"] else "")
            for f in decision["flips"]
        ]
    return ["", *lines] if lines else []


def explain(body: Body, check_id: str) -> str:
    """What one check computed, from what, how far it is from its limit, and what would turn it."""
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
    few = c["support"] is None
    lines.append(
        f"support     {'suppressed: few' if few else format(c['support'], ',')} interactions"
    )
    columns = ", ".join(_text(name) for name in _columns(body, check_id))
    if columns:
        lines.append(f"from        {columns} of the interactions")
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
    for one in windows["exclude"]:
        lines.append(
            f"left out    {_text(one['start'])} to {_text(one['end'])}: {_text(one['reason'])}"
        )
    lines += [
        f"compared    {windows['comparison'].replace('_', '/')}, clustered by {windows['cluster']}",
        f"counts as   {_counts(body, c)}",
    ]
    decision = body["decision"]
    for waived in decision["waived"]:
        if waived["check"] == check_id:
            lines.append(
                f"waived      by {_text(waived['owner'])} until {_text(waived['expires_utc'])}: "
                f"{_text(waived['reason'])}"
            )
    lines += [
        f"needs       {line}"
        for line, one in zip(_needed(decision), decision["needs"]["checks"], strict=True)
        if one["check"] == check_id
    ]
    for flip in decision["flips"]:
        if flip["check"] == check_id:
            lines.append(f"turns       {_text(flip['data'])}")
            if flip["policy"] is not None:
                lines.append(f"or policy   {_text(flip['policy'])}")
    lines.append(f"to do       {_text(c['action'])}")
    return "\n".join(lines)


def _columns(body: Body, check_id: str) -> tuple[str, ...]:
    """The columns that a check's figure rests on, by the policy that the artifact holds."""
    from analysis.gate_needs import columns_of
    from analysis.policy import Policy

    try:
        policy = Policy.model_validate(body["policy"]["settings"])
    except ValueError:
        return ()  # of another version: what it named is not known here
    return columns_of(check_id, policy)


def _counts(body: Body, check: Mapping[str, Any]) -> str:
    """What a check does to the decision."""
    decision = body["decision"]
    if check["id"] in decision["blocking"]:
        return "blocks the release"
    if check["id"] in decision["holding"]:
        return "holds the release"
    if any(w["check"] == check["id"] for w in decision["waived"]):
        return "waived: it would have stopped the release"
    if check["severity"] == "note":
        return "a note: it changes nothing"
    if check["outcome"] == "inconclusive":
        return "nothing: an open hold check does not hold"
    return "lets the release ship"


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
