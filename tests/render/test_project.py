"""Pages and the document of the PDF, read as Quarto reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.errors import RenderError
from analysis.render.project import Part, load_project, split_front_matter, split_page


def test_a_page_splits_into_prose_and_cells() -> None:
    text = "# Title\n\nProse.\n\n```{python}\n#| echo: false\nshow()\n```\n\n## Next\n"
    assert [part.kind for part in split_page(text)] == ["markdown", "code", "markdown"]
    assert split_page(text)[1] == Part("code", "#| echo: false\nshow()")


@pytest.mark.parametrize(
    "text",
    [
        "```python\nshow()\n```",
        "````markdown\n```{python}\nshow()\n```\n````",
        "```{.python}\nshow()\n```",
    ],
)
def test_a_fence_that_is_no_cell_stays_prose(text: str) -> None:
    assert split_page(text) == (Part("markdown", text),)


def test_front_matter_and_line_ends_are_no_content() -> None:
    meta, body = split_front_matter("\ufeff---\r\ntitle: A\r\n---\r\nProse\r\n")
    assert meta == {"title": "A"}
    assert body == "Prose\n"


def test_a_cell_that_is_not_closed_is_refused() -> None:
    with pytest.raises(RenderError, match="not closed"):
        split_page("```{python}\nshow()\n")


def test_the_document_holds_the_pages_in_its_own_order(project: Path) -> None:
    loaded = load_project(project)
    kinds = [part.kind for part in loaded.document.parts]
    assert kinds == ["include", "break", "include", "break", "include"]
    assert loaded.document.title == 'Release review: "r42" #1'
    assert str(loaded.pages[0]) == "report/index.qmd"


def remove_page(root: Path) -> None:
    (root / "report" / "health.qmd").unlink()


def forget_include(root: Path) -> None:
    document = root / "report" / "review.qmd"
    document.write_text(document.read_text().replace("{{< include health.qmd >}}", ""))


def include_stranger(root: Path) -> None:
    document = root / "report" / "review.qmd"
    document.write_text(document.read_text() + "\n{{< include ../README.md >}}\n")


def break_yaml(root: Path) -> None:
    (root / "_quarto.yml").write_text("project: [")


def empty_list(root: Path) -> None:
    (root / "_quarto.yml").write_text("project: {render: []}")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove_page, "absent: report/health.qmd"),
        (forget_include, "does not include report/health.qmd"),
        (include_stranger, "no page of the site"),
        (break_yaml, "not YAML"),
        (empty_list, r"project\.render"),
        (lambda root: (root / "_quarto.yml").unlink(), "cannot be read"),
    ],
)
def test_a_project_that_cannot_be_rendered_says_why(
    project: Path, harm: object, message: str
) -> None:
    assert callable(harm)
    harm(project)
    with pytest.raises(RenderError, match=message):
        load_project(project)
