"""The search index of the embedded engine holds what its pages show."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from analysis.render.search import write_index

PAGE = """<html><head><title>x</title><style>p {}</style></head><body><nav>Menu</nav>
<main><nav class="rr-releases">r42</nav><header><h1 class="title">The  page</h1></header>
<div class="cell"><p>Do <b>not</b> ship: &lt;script&gt;</p></div>
<section id="evidence" class="level2"><h2>Evidence</h2>
<table><tr><td>health.<wbr>cost</td><td>1.20<br>1.13</td></tr></table><script>run()</script>
<section id="by-model" class="level3"><h3>By model</h3><p>One</p></section></section>
<section id="rest" class="level2"><h2>The <code>rest</code></h2></section>
<nav class="page-navigation">Next</nav></main></body></html>"""


def test_what_a_cell_shows_is_found_in_its_section(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "health.html").write_text(PAGE)
    write_index(tmp_path, [PurePosixPath("report/health.html")])
    entries = json.loads((tmp_path / "search.json").read_text())
    assert [(one["href"], one["title"], one["section"], one["text"]) for one in entries] == [
        ("report/health.html", "The page", "", "Do not ship: <script>"),
        (
            "report/health.html#evidence",
            "The page",
            "Evidence",
            "health.cost 1.20 1.13 By model One",
        ),
        ("report/health.html#rest", "The page", "The rest", ""),
    ]
    assert all(one["objectID"] == one["href"] for one in entries)
