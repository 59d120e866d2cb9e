"""Checks the PDF: it opens, is small, has its pages and bookmarks, carries its fonts, and is tagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MAX_PDF_BYTES = 5_000_000
_FONT_FILES = ("/FontFile", "/FontFile2", "/FontFile3")


def check_pdf(path: Path, min_pages: int) -> list[str]:
    """Return the faults of the PDF at `path`, which should have at least `min_pages` pages."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    if not path.is_file():
        return ["absent"]
    try:
        reader = PdfReader(path)
        faults: list[str] = []
        n_bytes = path.stat().st_size
        if n_bytes > MAX_PDF_BYTES:
            faults.append(f"{n_bytes:,} bytes, more than {MAX_PDF_BYTES:,}")
        if len(reader.pages) < min_pages:
            faults.append(f"{len(reader.pages)} page(s), expected at least {min_pages}")
        bare = sorted({name for page in reader.pages for name in _fonts_not_embedded(page)})
        faults += [f"font not embedded: {name}" for name in bare]
        if not (reader.metadata and (reader.metadata.title or "").strip()):
            faults.append("no title")
        if not str(reader.root_object.get("/Lang", "")).strip():
            faults.append("no language")
        if not reader.outline:
            faults.append("no bookmarks")
        marked = reader.root_object.get("/MarkInfo")
        if marked is None or not marked.get_object().get("/Marked"):
            faults.append("not tagged")
        return faults
    except (PyPdfError, OSError, ValueError, KeyError) as error:
        return [f"cannot be read: {error}"]


def _fonts_not_embedded(page: Any) -> list[str]:
    """Names of the page's fonts that the file does not carry."""
    resources = page.get("/Resources")
    fonts = resources.get_object().get("/Font") if resources is not None else None
    if fonts is None:
        return []
    return [
        str(font.get("/BaseFont"))
        for font in (entry.get_object() for entry in fonts.get_object().values())
        if not _embedded(font)
    ]


def _embedded(font: Any) -> bool:
    if font.get("/Subtype") == "/Type3":
        return True
    if font.get("/Subtype") == "/Type0":
        return all(_embedded(part.get_object()) for part in font["/DescendantFonts"])
    descriptor = font.get("/FontDescriptor")
    return descriptor is not None and any(key in descriptor.get_object() for key in _FONT_FILES)
