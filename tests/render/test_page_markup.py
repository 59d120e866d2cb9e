"""What is put into laid-out pages, and what is left as it is."""

from __future__ import annotations

from pathlib import Path

from analysis.render.page_markup import mended, put_skip_links

QUARTO = """<!DOCTYPE html><html lang="en"><body class="nav-sidebar"><nav class="navbar" aria-label="x"></nav>
<button type="button" class="sidebar-item-text sidebar-item-toggle">Evidence</button>
<main id="quarto-document-content"><p>words</p></main></body></html>"""


def test_a_page_gets_one_link_past_its_navigation_however_often_it_is_completed(
    tmp_path: Path,
) -> None:
    page = tmp_path / "report" / "health.html"
    page.parent.mkdir()
    page.write_text(QUARTO, encoding="utf-8")
    put_skip_links(tmp_path)
    put_skip_links(tmp_path)
    text = page.read_text(encoding="utf-8")
    link = '<a class="rr-skip" href="#quarto-document-content">Skip to the content</a>'
    assert text == QUARTO.replace('<body class="nav-sidebar">', f'<body class="nav-sidebar">{link}')


def test_links_without_an_address_become_buttons_and_text_stays() -> None:
    section = (
        '<a class="sidebar-item-text sidebar-link text-start" data-bs-toggle="collapse" '
        'data-bs-target="#s-1" role="navigation" aria-expanded="true"><span>Evidence</span></a>'
        '<a class="sidebar-item-toggle text-start" data-bs-toggle="collapse" data-bs-target="#s-1" '
        'role="navigation" aria-expanded="true" aria-label="Toggle section"><i class="bi"></i></a>'
    )
    told = "<p>role=&quot;navigation&quot; and <code>&lt;a href=&quot;&quot;&gt;</code></p>"
    found = mended(f"<body>{section}{told}</body>")
    assert '<button type="button" ' in found
    assert 'aria-controls="s-1" aria-expanded="true"><span>Evidence</span>' in found
    assert "<a " not in found
    assert told in found


def test_the_menu_of_a_narrow_page_has_a_name_that_is_seen() -> None:
    menu = (
        '<button type="button" class="quarto-btn-toggle btn" aria-controls="quarto-sidebar" '
        'aria-label="Toggle sidebar navigation"><i class="bi bi-layout"></i></button>'
    )
    found = mended(f"<body>{menu}</body>")
    assert 'aria-expanded="false"><i class="bi bi-layout" aria-hidden="true"></i> Pages<' in found


def test_a_page_of_another_make_is_only_given_the_script_that_finds_nothing_there() -> None:
    found = mended(QUARTO)
    at = found.index("<script>")
    assert found[:at] + found[found.index("</body>") :] == QUARTO
