"""The blocks that pages are made of, each one finished HTML (see _extensions/release-review)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.present import anchors, glossary
from analysis.present.escape import ALT, SENTENCE, Html, escape, say
from analysis.present.formats import NONE, Format, between, plural, sentence, typeset

Body = Mapping[str, Any]
NOTHING = "Nothing to do."
_OF_ROWS = '<div class="rr-of-rows">'
_RANK = {"fail": 0, "inconclusive": 1, "pass": 2}
_SEVERITY = {"block": 0, "hold": 1, "note": 2}


@dataclass(frozen=True)
class Parts:
    """What one page shows: its answer, the evidence, and what to do."""

    answer: tuple[Html, ...]
    evidence: tuple[Html, ...]
    actions: tuple[Html, ...]


def joined(parts: Iterable[Html], separator: str = "") -> Html:
    return Html(separator.join(parts))


def paragraph(text: object, note: bool = False) -> Html:
    return say('<p class="rr-note">{t}</p>' if note else "<p>{t}</p>", t=text)


def bullets(items: Sequence[object], ordered: bool = False) -> Html:
    name = "ol" if ordered else "ul"
    lines = joined(say("<li>{t}</li>", t=item) for item in items)
    return say(f"<{name}>{{lines}}</{name}>", lines=lines)


def notes(items: Iterable[object], lead: str) -> tuple[Html, ...]:
    """A small list under a lead, or nothing."""
    told = list(dict.fromkeys(_note(item) for item in items))
    if not told:
        return ()
    return (say('<div class="rr-note"><p>{lead}</p>{told}</div>', lead=lead, told=bullets(told)),)


def _note(item: object) -> Html:
    return item if isinstance(item, Html) else escape(sentence(str(item)), SENTENCE)


def of_rows(*parts: Html) -> Html:
    """A block that names single rows: a recorded release is shown without it (`without_rows`)."""
    return say(f"{_OF_ROWS}{{parts}}</div>", parts=joined(parts))


def without_rows(blocks: Iterable[str]) -> list[str]:
    """Drawn blocks but those of `of_rows`; text from outside is escaped, and never begins as one."""
    return [block for block in blocks if not block.startswith(_OF_ROWS)]


def mark(outcome: str) -> Html:
    """A check's outcome: the word; the style sheet adds mark and colour."""
    shown = outcome if outcome in _RANK else "inconclusive"
    return say(f'<span class="rr-{shown}">{{o}}</span>', o=outcome)


def badge(outcome: str) -> Html:
    shown = outcome if outcome in ("ship", "hold", "block") else "hold"
    return say(f'<span class="rr-outcome-{shown}">{{o}}</span>', o=outcome.capitalize())


def answer(tone: str, *parts: Html) -> Html:
    """The page's answer. tone: an outcome of a check or a decision, or empty."""
    extra = {
        **{name: f" rr-{name}" for name in _RANK},
        **{name: f" rr-outcome-{name}" for name in ("ship", "hold", "block")},
    }.get(tone, "")
    return say(f'<div class="rr-answer{extra}">{{parts}}</div>', parts=joined(parts))


def link(target: str, text: object) -> Html:
    """A link to a file of the site; `target` is ours, relative to report/."""
    return say(f'<a href="{escape(target, 200)}">{{t}}</a>', t=text)


def figure(svg: bytes, alt: object, caption: object, *, name: str) -> Html:
    """A figure of both schemes as an image; its alt text carries the finding's numbers.

    name: its title, from which its permanent id is made: no text from telemetry or policy.
    """
    data = base64.b64encode(svg).decode()
    at = anchors.place("figure", name)
    return say(
        '<figure class="rr-figure rr-schemes" id="{at}"><img src="data:image/svg+xml;base64,{data}" alt="{alt}">'
        "<figcaption>{caption} {link}</figcaption></figure>",
        at=at,
        data=Html(data),
        alt=escape(alt, ALT),
        caption=caption,
        link=anchors.itself(at, f"the figure: {name}"),
    )


def stacked(figure: Body, form: Format) -> Html:
    """A figure of the artifact as a cell: its value, and its interval below."""
    return over(form(figure["value"]), between(figure["low"], figure["high"], form))


def over(value: str, below: str) -> Html:
    """Two lines of a cell; nothing below where there is nothing to say."""
    if below in ("", NONE):
        return escape(value)
    return say('{v}<br><span class="rr-range">{b}</span>', v=value, b=below)


def prose(text: object) -> Html:
    """A cell of several words: it keeps a readable width where the table scrolls."""
    return say('<span class="rr-prose">{t}</span>', t=text)


def defined(check_id: str) -> Html:
    """A check's id as a link to the check's definition."""
    shown = say("<code>{id}</code>", id=check_id)
    term = glossary.of_check(check_id)
    return shown if term is None else glossary.link(term, shown)


# ── checks ───────────────────────────────────────────────────────────────────────────────


def checks_of(body: Body, view: str) -> list[Body]:
    """A view's checks, those that can change the decision first."""
    own = [c for c in body["checks"] if c["view"] == view]
    return sorted(own, key=lambda c: _SEVERITY[c["severity"]])


def told(check: Body) -> Html:
    """A check in a sentence, with its outcome and support."""
    support = f" ({plural(check['support'], 'interaction')})" if check["support"] else ""
    return say(
        "{mark} {sentence}{support}",
        mark=mark(check["outcome"]), sentence=typeset(check["sentence"]), support=support,
    )  # fmt: skip


def view_answer(
    body: Body, view: str, extra: Sequence[Html] = (), best_first: bool = False
) -> tuple[Html, ...]:
    """The answer of a view's page: its deciding checks (else its notes), the worst one first.

    extra: further finished paragraphs of the answer. best_first: where passing is the news.
    """
    own = checks_of(body, view)
    deciding = [c for c in own if c["severity"] != "note"] or own
    sign = -1 if best_first else 1
    deciding.sort(key=lambda c: (sign * _RANK[c["outcome"]], _SEVERITY[c["severity"]]))
    if not deciding:
        return (answer("", *extra, *(() if extra else (paragraph("Nothing is judged here."),))),)
    rest = [told(c) for c in deciding[1:]]
    return (
        answer(
            deciding[0]["outcome"],
            paragraph(told(deciding[0])),
            *((bullets(rest),) if rest else ()),
            *extra,
        ),
    )


def view_notes(body: Body, view: str, more: Iterable[object] = ()) -> tuple[Html, ...]:
    """The view's remaining checks, and what the reader must know beyond what a check says."""
    own = checks_of(body, view)
    said = " ".join(c["sentence"] for c in own)
    more = [m for m in more if str(m).rstrip(".") not in said]
    if all(c["severity"] == "note" for c in own):
        own = []
    minor = [told(c) for c in own if c["severity"] == "note"]
    return (*notes(minor, "Also noted; these change no decision:"), *notes(more, "To know:"))


def view_actions(body: Body, view: str, more: Sequence[object] = ()) -> tuple[Html, ...]:
    """What to do about a view's checks."""
    seen: dict[str, list[str]] = {}
    for check in checks_of(body, view):
        if check["action"] != NOTHING:
            seen.setdefault(check["action"], []).append(check["id"])
    items: list[object] = [
        say("{action} {ids}", action=action, ids=joined(map(defined, ids), ", "))
        for action, ids in seen.items()
    ]
    items += more
    return (bullets(items),) if items else (paragraph("Nothing to do here."),)
