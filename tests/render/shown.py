"""What the fixture's pages display: the same HTML that the report's pages display."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from pathlib import Path

from IPython.display import Markdown, display

HOSTILE = [
    "{{< env HOME >}}",
    "<script>alert(1)</script>",
    "```\n{{< env HOME >}}\n```",
    "$x$ and `a` | b",
    "](javascript:alert(1))",
    '" onload="alert(1)',
    "#pagebreak() @ref \\",
]
SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='600' height='240' viewBox='0 0 600 240'>"
    "<rect x='40' y='60' width='200' height='40' fill='#0072b2'/>"
    "<path d='M40 20V220H560' stroke='#333' fill='none'/></svg>"
)


def show(markup: str) -> None:
    """Display HTML as a raw block of Markdown, in a fence that the HTML cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", markup)), default=0)
    fence = "`" * max(3, longest + 1)
    display(Markdown(f"{fence}{{=html}}\n{markup}\n{fence}"))


def answer() -> None:
    review = Path(os.environ["RELEASE_REVIEW_DIR"])
    outcome = json.loads((review / "decision_artifact.json").read_text())["decision"]["outcome"]
    badge = f'<span class="rr-outcome-{outcome}">{outcome.capitalize()}</span>'
    text = html.escape(f"Failures rose in {HOSTILE[0]} by 2.1 points.")
    show(f'<div class="rr-answer rr-outcome-{outcome}"><p>{badge} {text}</p></div>')


def table(rows: int = 4) -> None:
    import pandas as pd
    from great_tables import GT

    numbers = range(rows)
    slices = [HOSTILE[i] if i < 7 else f"use_case=coding & region=eu-{i}" for i in numbers]
    data = pd.DataFrame(
        {
            "slice": slices,
            "value": [0.0421 + i / 1000 for i in numbers],
            "support": [100 + i for i in numbers],
        }
    )
    drawn = (
        GT(data, id="slices")
        .tab_header("Slices", "worse than the rest")
        .tab_spanner("Measured", ["value", "support"])
        .fmt_percent(["value"], decimals=1)
        .tab_source_note("Candidate window, 1 to 15 November.")
        .tab_options(quarto_disable_processing=True)
    )
    raw = re.sub(r"<style>.*?</style>", "", drawn.as_raw_html(), flags=re.S)
    box = '<div class="rr-table" role="region" tabindex="0" aria-label="Slices">'
    show(f"{box}{raw}</div>")


def wide() -> None:
    head = "".join(f'<th scope="col">response_quality_{i}</th>' for i in range(14))
    row = "".join(f'<td class="gt_right">{i / 7:.5f}</td>' for i in range(14))
    show(
        '<div class="rr-table"><table><caption>A wide one</caption>'
        f"<thead><tr>{head}</tr></thead><tbody><tr>{row}</tr></tbody></table></div>"
    )


def figure() -> None:
    data = base64.b64encode(SVG.encode()).decode()
    alt = html.escape(f"Failure rate {HOSTILE[5]}", quote=True)
    caption = html.escape(f"Rate by day, {HOSTILE[1]}")
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}">'
    figure_html = f'<figure class="rr-figure">{image}<figcaption>{caption}</figcaption></figure>'
    show(figure_html)
    words = ("pass", "fail", "inconclusive")
    marks = " ".join(f'<span class="rr-{word}">{word}</span>' for word in words)
    show(f'<div class="rr-note">Checks: {marks}<span class="rr-web"> onscreen</span></div>')
    copied = "<details><summary>Copy</summary><pre><code>a: &#123;b: 1&#125;\n\n  c: 2</code></pre></details>"
    show(f'<div class="rr-web">{copied}</div>')
