"""Profiles say for whom a render is; the public one shows share-safe reviews alone, in both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from analysis import profiles
from analysis.errors import RenderError
from analysis.ledger import Entry, Ledger
from analysis.policy import Policy, Publish
from analysis.present import blocks, page
from analysis.present.escape import Html
from analysis.render import audience, render_site
from analysis.render.project import load_project

ROOT = Path(__file__).resolve().parents[2]


def make_safe(review_dir: Path) -> None:
    path = review_dir / "decision_artifact.json"
    body = {**json.loads(path.read_text()), "publication": {"min_cell": 10}}
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (None, None, ("internal",)),
        (None, "public", ("public",)),
        ("internal", "public", ("internal",)),
        (None, "draft, public", ("draft", "public")),
    ],
)
def test_the_profile_is_the_one_given_else_that_of_the_environment(
    given: str | None,
    variable: str | None,
    expected: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("QUARTO_PROFILE", raising=False)
    if variable is not None:
        monkeypatch.setenv("QUARTO_PROFILE", variable)
    assert profiles.profiles(given) == expected


def test_a_profile_is_merged_as_quarto_merges_it(project: Path) -> None:
    (project / "_quarto-public.yml").write_text(
        "lang: de\nwebsite: {page-footer: {left: Hello}, navbar: {left: [{text: More, href: x.html}]}}\n"
    )
    plain, public = load_project(project), load_project(project, ["public", "unknown"])
    assert public.config["lang"] == "de"
    assert public.config["website"]["title"] == plain.config["website"]["title"]
    left = public.config["website"]["navbar"]["left"]
    assert [one["text"] for one in left] == ["Decision", "More"]
    with pytest.raises(RenderError, match="expected letters"):
        load_project(project, ["../x"])


def test_the_projects_profiles_can_be_read() -> None:
    for name in profiles.PROFILES:
        footer = load_project(ROOT, [name]).config["website"]["page-footer"]
        assert footer["left"]
    assert yaml.safe_load((ROOT / "_quarto.yml").read_text())["profile"]["default"] == "internal"


def test_a_public_render_of_another_review_is_refused_before_any_page(
    project: Path, review_dir: Path
) -> None:
    with pytest.raises(RenderError, match="profile public: the review is not share-safe"):
        render_site(project, review_dir, engine="embedded", profile="public")
    assert not (project / "_site").exists()
    with pytest.raises(RenderError, match="not share-safe"):
        audience.check_policy(("public",), Policy())
    audience.check_policy(("public",), Policy(publish=Publish(share_safe=True)))
    audience.check_policy(("internal",), Policy())


def test_a_page_of_another_review_shows_nothing_to_the_public(
    review_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever starts the render: the cell itself refuses."""
    (review_dir / "pages").mkdir()
    rows = blocks.of_rows(Html("<p>i000001</p>"))
    held = {"answer": ["<p>yes</p>"], "evidence": [rows, "<p>all</p>"], "actions": []}
    (review_dir / "pages" / "health.json").write_text(json.dumps(held))
    monkeypatch.setenv("RELEASE_REVIEW_DIR", str(review_dir))
    monkeypatch.setenv("QUARTO_PROFILE", "public")
    with pytest.raises(PermissionError, match="not share-safe"):
        page.page("health")
    make_safe(review_dir)
    shown: list[str] = []
    monkeypatch.setattr(page, "display", lambda block: shown.append(block.data))
    page.page("health").evidence()
    assert "i000001" not in "".join(shown)
    assert "all" in "".join(shown)
    shown.clear()
    monkeypatch.setenv("QUARTO_PROFILE", "internal")
    page.page("health").evidence()
    assert "i000001" in "".join(shown)


def test_only_share_safe_releases_lie_beside_a_share_safe_site() -> None:
    def entry(name: str, publication: object) -> Entry:
        return Entry(name, Path(name), {"publication": publication, "release": {"id": name}})

    ledger = Ledger((entry("a", None), entry("b", {"min_cell": 10})))
    beside = ledger.beside({"publication": {"min_cell": 10}})
    assert [e.release_id for e in beside.entries] == ["b"]
    assert ledger.beside({"publication": None}) == ledger
