"""Quarto's pre-render hook: a computed review is there before any page is rendered.

`RELEASE_REVIEW_DIR` names a finished review; without it, the review that report/policy.yml
describes is taken from the cache, or computed. Anything else than 0 stops the render.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("QUARTO_PROJECT_DIR") or Path.cwd()).resolve()
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def main() -> int:
    """Return the exit code; a reason goes to stderr."""
    from analysis.artifact_bytes import read
    from analysis.errors import ReviewError
    from analysis.profiles import PUBLIC, profiles
    from analysis.render import audience
    from analysis.render.sidecar import ARTIFACT, check_review
    from analysis.telemetry.violations import clean

    try:
        handed = os.environ.get("RELEASE_REVIEW_DIR")
        if handed:
            place = Path(handed)
        else:
            from analysis.render.current import current

            place = current(ROOT)
        check_review(place)
        if PUBLIC in profiles():
            audience.check(profiles(), read(place / ARTIFACT))
    except ReviewError as error:
        print(f"release review: {clean(str(error), limit=None)}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
