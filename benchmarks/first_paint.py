"""How large each page of a built site is, and how soon a browser shows it from disk.

    .venv/bin/python benchmarks/first_paint.py [SITE] [--runs 5]

Chromium opens each page as a file, with an empty cache, at 1280 × 900; the medians of the runs are shown:
first paint (anything), first contentful paint (text or a figure), and the end of loading, each in milliseconds
since the page was asked for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.end_to_end import browser, devtools

PAINTS = """new Promise(done => requestAnimationFrame(() => setTimeout(() => done([
  ...["first-paint", "first-contentful-paint"].map(
    name => (performance.getEntriesByName(name)[0] || {}).startTime),
  performance.getEntriesByType("navigation")[0].loadEventEnd,
]), 200)))"""


def measured(tab: devtools.Tab, page: Path, runs: int) -> list[float]:
    """Medians of first paint, first contentful paint and load, in ms; raises where nothing is painted."""
    seen = []
    for _ in range(runs):
        tab.call("Network.clearBrowserCache")
        tab.open(page.resolve().as_uri())
        seen.append(tab.run(PAINTS))
        if None in seen[-1]:
            raise SystemExit(f"{page}: nothing was painted")
    return [statistics.median(part) for part in zip(*seen, strict=True)]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=Path("_site"))
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args(argv)
    found = browser.chromium()
    if found is None:
        raise SystemExit(browser.ABSENT)
    pages = sorted((arguments.site / "report").glob("*.html"))
    if not pages:
        raise SystemExit(f"{arguments.site}: no page in report/")
    print("| page | kB | first paint ms | first contentful paint ms | loaded ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, devtools.tab(found, Path(folder)) as tab:
        tab.look(1280, 900, dark=False)
        for page in pages:
            paint, content, loaded = measured(tab, page, arguments.runs)
            size = page.stat().st_size / 1000
            print(f"| {page.stem} | {size:.0f} | {paint:.0f} | {content:.0f} | {loaded:.0f} |")
    pdf = arguments.site / "review.pdf"
    if pdf.is_file():
        print(f"| review.pdf | {pdf.stat().st_size / 1000:.0f} | – | – | – |")


if __name__ == "__main__":
    main()
