"""What a report page shows: the blocks that were drawn with the review, loaded and displayed.

from analysis.present.page import page
page("health").answer()
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from IPython.display import Markdown, display

from analysis.profiles import PUBLIC, is_share_safe, profiles

OF_ROWS = '<div class="rr-of-rows">'
"""How a block begins that names single rows (`blocks.of_rows`): readers outside do not see it."""
_BACKTICKS = re.compile(r"`+")


@dataclass(frozen=True)
class Page:
    """The drawn blocks of one page, by part."""

    parts: Mapping[str, Sequence[str]]
    public: bool = False

    def answer(self) -> None:
        """Shows the page's answer."""
        self._show("answer")

    def evidence(self) -> None:
        """Shows the evidence behind it."""
        self._show("evidence")

    def actions(self) -> None:
        """Shows what to do about it."""
        self._show("actions")

    def _show(self, part: str) -> None:
        for block in self.parts[part]:
            if self.public and block.startswith(OF_ROWS):
                continue
            display(Markdown(raw_block(block)))


def raw_block(markup: str) -> str:
    """Markdown that holds nothing but `markup`, in a fence that it cannot close."""
    longest = max((len(run) for run in _BACKTICKS.findall(markup)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{{=html}}\n{markup}\n{fence}"


def page(name: str, project: Path | None = None) -> Page:
    """The page `name` of the review at hand.

    It lies in `$RELEASE_REVIEW_DIR`, else in the folder that `.cache/review/current` names.
    Raises FileNotFoundError, saying how to compute one, and PermissionError where the profile is `public`
    and the review is not share-safe.
    """
    handed = os.environ.get("RELEASE_REVIEW_DIR")
    directory = Path(handed) if handed else _current(project or Path.cwd())
    path = directory / "pages" / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is absent: run `python -m analysis render` first")
    public = PUBLIC in profiles()
    if public and not _share_safe(directory):
        raise PermissionError(
            "profile public: the review is not share-safe; nothing of it is shown"
        )
    return Page(json.loads(path.read_text(encoding="utf-8")), public)


def _share_safe(directory: Path) -> bool:
    artifact = (directory / "decision_artifact.json").read_text(encoding="utf-8")
    return is_share_safe(json.loads(artifact))


def _current(project: Path) -> Path:
    """The current review's folder; pages run in the project's root or in report/."""
    for root in (project, *project.parents):
        pointer = root / ".cache" / "review" / "current"
        if pointer.is_file():
            return pointer.parent / pointer.read_text(encoding="utf-8").strip()
    raise FileNotFoundError(
        f"no review under {project / '.cache'}: run `python -m analysis render` first"
    )
