"""The files beside the pages: the redirect, the artifact with its schema and tables, the PDF's place, and
the statement over all of them.
"""

from __future__ import annotations

import html
import shutil
from pathlib import Path, PurePosixPath

from analysis.errors import RenderError

ARTIFACT = "decision_artifact.json"
SCHEMA = "decision_artifact.schema.json"
TABLES = "tables"
PDF = "review.pdf"


def check_review(review_dir: Path) -> None:
    """Raise RenderError unless `review_dir` holds a finished review."""
    if not (review_dir / ARTIFACT).is_file():
        raise RenderError(
            f"{review_dir}: no finished review here (no {ARTIFACT}); "
            "compute it with `python -m analysis review`"
        )


def complete_site(site: Path, review_dir: Path, first_page: PurePosixPath) -> None:
    """Add the sidecar, its schema, the tables, the PDF and the redirect to the pages in `site`.

    Idempotent: Quarto runs it after each full render into a folder that it keeps.
    """
    from analysis import artifact as artifacts
    from analysis.artifact_schema import schema_text

    check_review(review_dir)
    schema = artifacts.schema_of(artifacts.read(review_dir / ARTIFACT))
    shutil.copyfile(review_dir / ARTIFACT, site / ARTIFACT)
    (site / SCHEMA).write_text(schema_text(schema), encoding="utf-8")
    shutil.rmtree(site / TABLES, ignore_errors=True)
    tables = review_dir / TABLES
    (site / TABLES).mkdir()
    for table in sorted([*tables.glob("*.csv"), *tables.glob("*.json")]) if tables.is_dir() else []:
        shutil.copyfile(table, site / TABLES / table.name)
    beside_pages = site / "report" / PDF
    if beside_pages.is_file():
        beside_pages.replace(site / PDF)
    (site / "report" / "review.html").unlink(missing_ok=True)
    shutil.rmtree(site / "report" / "review_files", ignore_errors=True)
    target = html.escape(str(first_page.with_suffix(".html")), quote=True)
    (site / "index.html").write_text(_REDIRECT.format(target=target), encoding="utf-8")


def attest_site(site: Path) -> None:
    """Write the in-toto Statement of the site: the last step, as it digests every other file."""
    from analysis.attestation import write_statement

    write_statement(site)


_REDIRECT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url={target}">
<title>Release review</title>
</head>
<body><p><a href="{target}">Go to the release review</a></p></body>
</html>
"""
