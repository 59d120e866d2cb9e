"""The rules of routing candidates: as a table, and as text for a router."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.errors import UsageError
from analysis.present.blocks import Body, joined, paragraph, prose
from analysis.present.escape import Html, escape, say
from analysis.present.formats import NONE, percent
from analysis.present.grid import Column, table, text
from analysis.routes import as_litellm, as_yaml

MAX_EXPORTED = 8
MAX_LETTERS = 20_000
"""Longest export on the page; the command writes any."""
COMMAND = "python -m analysis routes decision_artifact.json"
_FORMS: tuple[tuple[str, Callable[[Body, Body], str]], ...] = (
    ("YAML for policy.yml", as_yaml),
    ("LiteLLM config", as_litellm),
)


def rules(body: Body, section: Body) -> tuple[Html, ...]:
    """Every candidate's rules in their order, and below them the exports."""
    if not section["candidates"]:
        return ()
    rows = [row for c in section["candidates"] for row in _rows(body, c)]
    return (
        table(
            "The rules of each candidate",
            [text("Candidate"), Column("Order"), text("When"), text("Use"), Column("Share")],
            rows,
            "The first rule that matches a request decides; of a share below 100 % the rest of its "
            "requests go on to later rules. What no rule takes stays as it is today.",
        ),
        *_exports(body, section),
    )


def _rows(body: Body, candidate: Body) -> list[list[object]]:
    settings = body["policy"]["settings"].get("routing", {})
    named = settings.get("candidates", ())
    learn = next((c.get("learn") for c in named if c.get("name") == candidate["name"]), None)
    name = escape(candidate["name"])
    if learn is not None:
        name = say('{n}<br><span class="rr-range">learned: {l}</span>', n=name, l=escape(learn))
    if not candidate["rules"]:
        why = "bounds only, no rules" if candidate["bounds"] else "no rules"
        return [[name, None, why, None, None]]
    return [
        [
            name,
            str(index + 1),
            prose(_pairs(rule["when"]) or "all traffic"),
            prose(_choice(rule["use"], settings.get("action", ()))),
            percent(rule["share"], 0) if rule.get("share") is not None else NONE,
        ]
        for index, rule in enumerate(candidate["rules"])
    ]


def _pairs(held: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{k} = {' or '.join(map(str, v)) if isinstance(v, list | tuple) else v}"
        for k, v in held.items()
    )


def _choice(use: Mapping[str, Any], action: Sequence[str]) -> str:
    """The columns of a choice in the policy's order: provider before model."""
    ordered = [c for c in action if c in use] + [c for c in use if c not in action]
    return " / ".join(str(use[column]) for column in ordered)


# ── exports ──────────────────────────────────────────────────────────────────────────────


def _exports(body: Body, section: Body) -> tuple[Html, ...]:
    """What can be pasted into a router; folded away, and on the site alone (class `rr-web`)."""
    ruled = [c for c in section["candidates"] if c["rules"]]
    if not ruled:
        return ()
    told = joined(_export(body, c, *form) for c in ruled[:MAX_EXPORTED] for form in _FORMS)
    lead = say(
        "For a router: <code>{command}</code> writes the rules of what is to be adopted as an item of "
        "routing.candidates, with <code>--format litellm</code> as a fragment of LiteLLM's configuration, "
        "with <code>--candidate</code> those of any other. On the site they can be copied.",
        command=COMMAND,
    )
    more = len(ruled) - MAX_EXPORTED
    left = paragraph(f"{more} more by the command.", note=True) if more > 0 else Html("")
    return (
        paragraph(lead, note=True),
        say('<div class="rr-web">{told}{left}</div>', told=told, left=left),
    )


def _export(body: Body, candidate: Body, form: str, write: Callable[[Body, Body], str]) -> Html:
    try:
        written = write(candidate, body)
    except UsageError as error:
        inner = paragraph(str(error), note=True)
    else:
        inner = _copyable(written)
    return say(
        '<details class="rr-export"><summary>{name}: {form}</summary>{inner}</details>',
        name=escape(candidate["name"]), form=form, inner=inner,
    )  # fmt: skip


def _copyable(written: str) -> Html:
    if len(written) > MAX_LETTERS:
        return paragraph(
            f"{len(written):,} letters, too long for a page: use the command.", note=True
        )
    # Line by line: as one text its line ends would be shown as codes, and its end cut.
    lines = joined((escape(line, MAX_LETTERS) for line in written.split("\n")), "\n")
    return say('<pre tabindex="0"><code>{lines}</code></pre>', lines=lines)
