"""Recorded releases beside the current site: kept byte for byte, listed, and a click away from every page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis import ledger
from analysis.ledger import Ledger
from analysis.render import render_site
from analysis.render.releases import MAX_SWITCHED, Shelf, put_beside
from analysis.render.site_check import check_site
from analysis.review import Review
from tests import ledgers
from tests.end_to_end.children import content

from .test_quarto import run_hook

HOSTILE = '"><script>alert(1)</script>{{< env HOME >}}`x`\x1b[2J\u202e'


@pytest.fixture
def releases(project: Path) -> Path:
    return project / ledger.RELEASES


@pytest.fixture
def entries(releases: Path, tiny_review: Review) -> list[str]:
    """Three recorded releases, one of them with a hostile name; the folders, oldest first."""
    for k, (release, title) in enumerate([("r1", "first"), (HOSTILE, HOSTILE), ("r3", "third")]):
        ledgers.record(releases, ledgers.artifact(
            tiny_review.body, release, ledgers.weeks_after("2026-01-05", 2 * k),
            lambda b, t=title: b["release"].update(title=t)))  # fmt: skip
    return [e.folder for e in ledger.read(releases).entries]


def rendered(project: Path, review_dir: Path) -> Path:
    render_site(project, review_dir, engine="embedded")
    return project / "_site"


def test_a_render_keeps_every_release_byte_for_byte(
    project: Path, review_dir: Path, releases: Path, entries: list[str]
) -> None:
    site = rendered(project, review_dir)
    for folder in entries:
        assert content(site / "releases" / folder) == content(releases / folder / "site")
    # The next one replaces the site as a whole, and keeps them again.
    before = content(site)
    assert content(rendered(project, review_dir)) == before


def test_the_index_lists_them_newest_first_with_decision_and_window(
    project: Path, review_dir: Path, entries: list[str]
) -> None:
    index = (rendered(project, review_dir) / "releases" / "index.html").read_text()
    shown = re.findall(r'<th scope="row"><a href="([^"]+)report/index.html">', index)
    assert shown == ["../", *(f"{folder}/" for folder in reversed(entries))]
    assert "this site, not recorded" in index
    assert "2026-01-05" in index
    assert 'class="rr-outcome-' in index
    assert "<script" not in index
    assert not {"\x1b", "\u202e"} & set(index)
    assert "{{<" not in index


def test_every_page_leads_to_the_same_page_of_every_release(
    project: Path, review_dir: Path, releases: Path, entries: list[str]
) -> None:
    (releases / entries[0] / "site" / "report" / "health.html").write_text("<html lang='en'>")
    site = rendered(project, review_dir)
    page = (site / "report" / "health.html").read_text()
    (switcher,) = re.findall(r'<nav class="rr-releases".*?</nav>', page)
    assert re.findall('href="([^"]+)"', switcher) == [
        f"../releases/{entries[2]}/index.html",
        f"../releases/{entries[1]}/index.html",
        f"../releases/{entries[0]}/report/health.html",
        "../releases/index.html",
    ]
    assert "<details>" in switcher
    assert "<script" not in switcher
    assert 'aria-current="page"><strong>r42</strong>' in switcher
    assert "All recorded releases (3)" in switcher


def test_a_project_without_a_ledger_has_an_index_that_says_so(
    project: Path, review_dir: Path
) -> None:
    site = rendered(project, review_dir)
    assert "No release is recorded yet" in (site / "releases" / "index.html").read_text()
    assert "All recorded releases (0)" in (site / "report" / "index.html").read_text()


def test_the_switcher_names_the_newest_and_the_index_all(
    project: Path, review_dir: Path, releases: Path, tiny_review: Review
) -> None:
    for k in range(MAX_SWITCHED + 5):
        end = ledgers.weeks_after("2025-01-06", k)
        ledgers.record(releases, ledgers.artifact(tiny_review.body, f"r{k}", end))
    site = rendered(project, review_dir)
    (switcher,) = re.findall(
        r'<nav class="rr-releases".*?</nav>', (site / "report" / "index.html").read_text()
    )
    assert switcher.count("<li") == MAX_SWITCHED + 2
    assert f">r{MAX_SWITCHED + 4}</a>" in switcher
    assert ">r0</a>" not in switcher
    assert (site / "releases" / "index.html").read_text().count("<tr>") == MAX_SWITCHED + 5 + 2


def test_an_entry_s_site_holds_no_releases_and_links_to_those_before_it(
    project: Path, review_dir: Path, releases: Path, entries: list[str], tmp_path: Path
) -> None:
    place = releases / "r9" / "site"
    place.parent.mkdir()
    (place.parent / artifacts.FILE_NAME).write_bytes(
        (review_dir / artifacts.FILE_NAME).read_bytes()
    )
    render_site(project, review_dir, place, engine="embedded", entry_of=releases)
    assert not (place / "releases").exists()
    page = (place / "report" / "health.html").read_text()
    (switcher,) = re.findall(r'<nav class="rr-releases".*?</nav>', page)
    assert re.findall('href="([^"]+)"', switcher) == [
        *(f"../../{folder}/index.html" for folder in reversed(entries)),
        "../../index.html",
    ]
    assert check_site(place) == []
    (releases / entries[0] / "site" / "index.html").unlink()
    assert check_site(place) == [
        f"report/{name}.html: link out of the site: ../../{entries[0]}/index.html"
        for name in ("contract", "health")
    ]


def test_links_in_the_published_place_resolve(
    project: Path, review_dir: Path, releases: Path, entries: list[str], tiny_review: Review
) -> None:
    """The same bytes, one folder level less: no `site` between a release and its neighbours."""

    def build(folder: Path) -> None:
        artifacts.write(newest, folder / artifacts.FILE_NAME)
        render_site(project, review_dir, folder / "site", engine="embedded", entry_of=releases)

    newest = ledgers.artifact(tiny_review.body, "r9", "2026-06-01")
    assert ledger.record(releases, newest, build)
    site = rendered(project, review_dir)
    assert check_site(site / "releases" / "r9") == []
    assert check_site(site) == []


def test_a_fault_of_the_ledger_is_told_on_the_index_and_its_site_stays(
    project: Path, review_dir: Path, releases: Path, entries: list[str]
) -> None:
    path = releases / "r1" / artifacts.FILE_NAME
    path.write_text(path.read_text().replace('"title": "first"', '"title": "second"'))
    site = rendered(project, review_dir)
    index = (site / "releases" / "index.html").read_text()
    assert "<code>r1</code>: its artifact does not agree with its digest" in index
    assert content(site / "releases" / "r1") == content(releases / "r1" / "site")


def test_a_folder_that_no_release_has_is_told_and_not_published(
    project: Path, review_dir: Path, releases: Path, entries: list[str]
) -> None:
    for name in ("index.html", "R 9"):
        (releases / name / "site").mkdir(parents=True)
    site = rendered(project, review_dir)
    assert sorted(p.name for p in (site / "releases").iterdir()) == sorted([*entries, "index.html"])
    assert (
        "<code>R 9</code>: its name is not that of a release"
        in (site / "releases" / "index.html").read_text()
    )


def test_nothing_is_followed_out_of_the_ledger(
    project: Path, review_dir: Path, releases: Path, entries: list[str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("secret")
    (releases / "r1" / "site" / "file.txt").symlink_to(secret / "key.txt")
    (releases / "r1" / "site" / "folder").symlink_to(secret)
    (releases / "r2").symlink_to(secret)
    site = rendered(project, review_dir)
    assert not any(b"secret" in held for held in content(site / "releases").values())


def test_putting_releases_beside_a_site_again_changes_nothing(
    project: Path, review_dir: Path, releases: Path, entries: list[str]
) -> None:
    site = rendered(project, review_dir)
    before = content(site)
    put_beside(project, site, review_dir, Shelf(ledger.read(releases)))
    assert content(site) == before
    # A release that is gone from the ledger is gone from the site, and from the pages.
    put_beside(project, site, review_dir, Shelf(Ledger()))
    assert [p.name for p in (site / "releases").iterdir()] == ["index.html"]
    assert "r3" not in (site / "report" / "health.html").read_text()


def test_after_a_bare_quarto_render_the_releases_are_there(
    project: Path, review_dir: Path, entries: list[str]
) -> None:
    report = project / "_site" / "report"
    report.mkdir(parents=True)
    (report / "index.html").write_text(
        "<html lang='en'><title>x</title><main id='m'>x</main></html>"
    )
    run_hook(
        "post_render.py",
        project,
        RELEASE_REVIEW_DIR=str(review_dir),
        QUARTO_PROJECT_RENDER_ALL="1",
        QUARTO_PROJECT_OUTPUT_DIR=str(project / "_site"),
    )
    site = project / "_site"
    assert sorted(p.name for p in (site / "releases").iterdir()) == sorted([*entries, "index.html"])
    assert "<main id='m'><nav class=\"rr-releases\"" in (report / "index.html").read_text()


def no_index(site: Path) -> None:
    (site / "releases" / "r1" / "index.html").unlink()


def no_artifact(site: Path) -> None:
    (site / "releases" / "r1" / artifacts.FILE_NAME).unlink()


def broken_index(site: Path) -> None:
    path = site / "releases" / "index.html"
    path.write_text(path.read_text().replace("r1/report", "r0/report"))


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "a release without its first page": (no_index, "releases/r1/index.html: absent"),
    "a release without its artifact": (no_artifact, "releases/r1/decision_artifact.json: absent"),
    "an index with a broken link": (
        broken_index,
        "releases/index.html: broken link: r0/report/index.html",
    ),
}


@pytest.mark.parametrize(("harm", "fault"), HARM.values(), ids=HARM)
def test_each_fault_of_the_releases_is_named(
    project: Path, review_dir: Path, entries: list[str], harm: Callable[[Path], None], fault: str
) -> None:
    site = rendered(project, review_dir)
    harm(site)
    assert fault in check_site(site)


def test_pages_of_recorded_releases_are_not_read_again(
    project: Path, review_dir: Path, entries: list[str]
) -> None:
    site = rendered(project, review_dir)
    for folder in entries:
        (site / "releases" / folder / "report" / "index.html").write_text("<a href='nowhere.html'>")
    assert check_site(site) == []


def test_the_review_folder_s_history_page_is_that_of_the_ledger(
    project: Path, review_dir: Path, entries: list[str], tiny_review: Review
) -> None:
    """What the pages load is drawn before they are rendered."""
    artifacts.write(tiny_review.body, review_dir / artifacts.FILE_NAME)
    (review_dir / "pages").mkdir()
    (review_dir / "pages" / "history.json").write_text(
        '{"answer": [], "evidence": [], "actions": []}'
    )
    rendered(project, review_dir)
    held = json.loads((review_dir / "pages" / "history.json").read_text())
    assert "3 recorded releases" in held["answer"][0]
