"""A site never takes the place of other work."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.errors import RenderError
from analysis.render.publish import check_target


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "holds"), ("project", "holds"), ("work", "other files"), ("work/notes.md", "is a file")],
)
def test_a_place_that_holds_other_work_is_never_replaced(
    tmp_path: Path, name: str, message: str
) -> None:
    project, work = tmp_path / "project", tmp_path / "work"
    project.mkdir()
    work.mkdir()
    (work / "notes.md").write_text("notes")
    with pytest.raises(RenderError, match=message):
        check_target(tmp_path / name, keep=[project])


@pytest.mark.parametrize("names", [[], ["index.html", "report"], ["site_libs", "report"]])
def test_an_empty_folder_or_an_older_site_is_replaced(tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "_site"
    out.mkdir()
    for name in names:
        (out / name).mkdir()
    check_target(out, keep=[tmp_path / "project"])
    check_target(tmp_path / "new", keep=[tmp_path])
