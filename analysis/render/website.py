"""Executed pages → the website, with smalldocs driven by the project's own `_quarto.yml`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from analysis.errors import RenderError
from analysis.render.notebooks import ExecutedPage, write_notebook
from analysis.render.page_markup import mended
from analysis.render.project import EXTENSION, SiteProject
from analysis.render.search import write_index

_STYLE = "release-review.css"
_SCRIPT = "release-review.js"


def build_website(
    project: SiteProject, pages: Sequence[ExecutedPage], site: Path, scratch: Path
) -> None:
    """Lay out every page into `site`.

    smalldocs builds from a folder of notebooks, so one is made in `scratch`: the site's own
    configuration without what only Quarto runs, the theme's plain CSS, its script, and the notebooks.
    """
    from smalldocs.config import BuildError, ConfigError, load
    from smalldocs.site import Site

    folder = scratch / "website"
    folder.mkdir()
    for page in pages:
        write_notebook(page, folder / page.source.with_suffix(".ipynb"))
    shutil.copyfile(project.root / EXTENSION / "review.scss", folder / _STYLE)
    shutil.copyfile(project.root / EXTENSION / _SCRIPT, folder / _SCRIPT)
    for parent in {page.source.parent for page in pages}:
        _load_script(folder, parent)
    config = _config(project.config, [str(p.source.with_suffix(".ipynb")) for p in pages])
    (folder / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    try:
        Site(load(folder), quiet=True).build()
    except (BuildError, ConfigError, OSError, ValueError) as error:
        raise RenderError(f"the website could not be laid out: {error}") from error
    built = folder / "_site"
    write_index(built, [page.source.with_suffix(".html") for page in pages])
    for path in sorted((built / "report").glob("*.html")):
        path.write_text(mended(path.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copytree(built, site, dirs_exist_ok=True)


def _load_script(folder: Path, parent: PurePosixPath) -> None:
    """Have the pages of one folder load the script by its relative address, as a file of the site."""
    up = "../" * len(parent.parts)
    loaded = {"include-in-header": {"text": f'<script src="{up}{_SCRIPT}" defer></script>'}}
    (folder / parent / "_metadata.yml").write_text(yaml.safe_dump(loaded), encoding="utf-8")


def _config(config: Mapping[str, Any], sources: list[str]) -> dict[str, Any]:
    """The website's navigation as it is; theme and reader options as the extension sets them."""
    return {
        "project": {
            "type": "website",
            "output-dir": "_site",
            "render": sources,
            "resources": [_SCRIPT],
        },
        "lang": config.get("lang", "en"),
        "website": config.get("website", {}),
        "execute": {"echo": False},
        "format": {
            "html": {
                # Bootstrap as it is, in both schemes: no web font; review.scss colours both.
                "theme": {"light": "default", "dark": "default"},
                "css": _STYLE,
                "toc": True,
                "toc-depth": 2,
                # Money is no mathematics: `$40 … $60` stays text, and no formula engine loads.
                "from": "markdown-tex_math_dollars",
            }
        },
    }
