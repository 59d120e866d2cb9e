"""Executed pages → one Markdown document → Typst (pandoc and the extension's filter) → PDF."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis.errors import RenderError
from analysis.render.notebooks import ExecutedPage
from analysis.render.project import EXTENSION, SiteProject

_PAGE_BREAK = "```{=typst}\n#pagebreak(weak: true)\n```"


def build_pdf(
    project: SiteProject,
    pages: Sequence[ExecutedPage],
    pdf: Path,
    scratch: Path,
    report: Callable[[str], None],
) -> None:
    """Compile `pdf`: tagged, with title and language, from Typst's own fonts only.

    Raises:
        RenderError: pandoc or Typst fails or warns, with its own words.
    """
    folder = scratch / "pdf"
    folder.mkdir()
    meta = {
        "title": project.document.title,
        "lang": str(project.config.get("lang", "en")),
        "release-review-media": str(folder / "media"),
    }
    (folder / "meta.yml").write_text(yaml.safe_dump(meta), encoding="utf-8")
    (folder / "review.md").write_text(_markdown(project, pages), encoding="utf-8")
    _to_typst(project.root / EXTENSION, folder)
    _compile(folder, pdf, report)


def _markdown(project: SiteProject, pages: Sequence[ExecutedPage]) -> str:
    """The document in the order of report/review.qmd; outputs as raw blocks, code left out."""
    by_source: Mapping[str, ExecutedPage] = {str(page.source): page for page in pages}
    blocks: list[str] = []
    for part in project.document.parts:
        if part.kind == "break":
            blocks.append(_PAGE_BREAK)
        elif part.kind == "include":
            for cell in by_source[part.text].notebook.cells:
                blocks += _cell(cell)
        else:
            blocks.append(part.text)
    return "\n\n".join(blocks) + "\n"


def _cell(cell: Any) -> list[str]:
    if cell.cell_type == "markdown":
        return [cell.source]
    return [_output(output.data) for output in cell.outputs]


def _output(data: Mapping[str, Any]) -> str:
    """One displayed value as Markdown: HTML first, as on the site."""
    for mime in ("text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain"):
        if mime not in data:
            continue
        value = data[mime]
        text = "".join(value) if isinstance(value, list) else str(value)
        if mime == "text/html":
            return _fenced(text, "{=html}")
        if mime == "text/markdown":
            return text
        if mime == "text/plain":
            return _fenced(text, "")
        raise RenderError(f"a page displays {mime} alone: display HTML with alt text instead")
    return ""


def _fenced(text: str, attribute: str) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{attribute}\n{text}\n{fence}"


def _to_typst(extension: Path, folder: Path) -> None:
    import pypandoc

    command = [
        pypandoc.get_pandoc_path(),
        "--from=markdown-tex_math_dollars-raw_tex-citations-example_lists",
        "--to=typst",
        "--wrap=none",
        "--fail-if-warnings=false",
        f"--metadata-file={folder / 'meta.yml'}",
        f"--lua-filter={extension / 'review.lua'}",
        f"--template={extension / 'embedded.typ'}",
        f"--output={folder / 'review.typ'}",
        str(folder / "review.md"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr.strip():
        raise RenderError(f"pandoc could not write the PDF's source: {done.stderr.strip()}")


def _compile(folder: Path, pdf: Path, report: Callable[[str], None]) -> None:
    """Compile to PDF/UA-1 (accessible), or to plain tagged PDF where the content forbids it."""
    import typst

    compiler = typst.Compiler(
        str(folder / "review.typ"), root=str(folder), ignore_system_fonts=True
    )
    try:
        try:
            written, warnings = compiler.compile_with_warnings(
                format="pdf", pdf_tags=True, pdf_standards=["ua-1"]
            )
        except typst.TypstError as error:
            report(f"the PDF is tagged, and not PDF/UA: {error}")
            written, warnings = compiler.compile_with_warnings(format="pdf", pdf_tags=True)
    except typst.TypstError as error:
        where = getattr(error, "diagnostic", None) or error
        raise RenderError(f"Typst could not make the PDF: {where}") from error
    if warnings:
        listed = "; ".join(str(warning) for warning in warnings)
        raise RenderError(f"Typst made the PDF with warnings: {listed}")
    if not isinstance(written, bytes):
        raise RenderError("Typst made no PDF")
    pdf.write_bytes(written)
