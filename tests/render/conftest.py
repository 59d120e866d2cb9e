"""A small project with the shape of the real one: its pages show fixed, hostile content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["index", "contract", "health"]

PAGE = """# {title}

{prose}

```{{python}}
#| echo: false
from shown import answer, figure, table, wide
answer()
```

## Evidence

It cost $40 before and $60 after; see [health](health.qmd#evidence) and <https://example.org/>.

```{{python}}
figure()
table({rows})
wide()
```

## What to do

- Wait for *evidence*.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of three pages with the real theme and configuration."""
    root = tmp_path / "project"
    report = root / "report"
    report.mkdir(parents=True)
    shutil.copytree(ROOT / "_extensions", root / "_extensions")
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text())
    config["project"]["render"] = [f"report/{name}.qmd" for name in [*PAGES, "review"]]
    entries = [{"text": name, "href": f"report/{name}.qmd"} for name in PAGES]
    config["website"]["sidebar"]["contents"] = entries
    (root / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    shutil.copyfile(Path(__file__).with_name("shown.py"), root / "shown.py")
    for name in PAGES:
        rows = 120 if name == "health" else 7
        page = PAGE.format(title=f"The {name} page", prose="Some prose.", rows=rows)
        (report / f"{name}.qmd").write_text(page)
    included = "\n\n{{< pagebreak >}}\n\n".join(f"{{{{< include {name}.qmd >}}}}" for name in PAGES)
    front = '---\ntitle: "Release review: \\"r42\\" #1"\nformat: release-review-typst\n---\n\n'
    (report / "review.qmd").write_text(front + included + "\n")
    return root


@pytest.fixture
def review_dir(tmp_path: Path) -> Path:
    """A finished review, as far as rendering reads one."""
    folder = tmp_path / "review"
    (folder / "tables").mkdir(parents=True)
    held = {
        "schema": "decision-artifact/1",
        "release": {"id": "r42", "title": "<b>The</b> {{< env HOME >}} one"},
        "decision": {"outcome": "hold"},
        "windows": {
            "candidate": {"start_utc": "2026-11-01T00:00:00Z", "end_utc": "2026-11-15T00:00:00Z"}
        },
        "producer": {},
        "policy": {"sha256": "0", "settings": {}},
        "evidence_digest": "sha256:1",
        "digest": "sha256:2",
    }
    (folder / "decision_artifact.json").write_text(json.dumps(held))
    (folder / "tables" / "hotspots.csv").write_text("slice,value\na,1\n")
    return folder


@pytest.fixture(autouse=True)
def artifact_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture's sidecar is no real artifact: what verifies one is tested with the artifact."""
    monkeypatch.setattr("analysis.render.site_check.verify_sidecar", lambda path: [])
