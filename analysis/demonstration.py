"""Four releases of the sample, each validated, reviewed, gated and recorded: `make demo`.

    OUT/telemetry/<id>/    the log as it stands when the release is reviewed, and its truth
    OUT/policy/<id>.yml    the project's policy, with this release's windows
    OUT/reviews/<id>/      what the steps of the action leave: review/, comment.md, summary.md
    OUT/releases/<id>/     the ledger
    OUT/history.txt        `history` of it; its page is in the site of the newest release

The steps are those of `.github/actions/release-review`, and the ledger's are `record` and `history`.
Exits 1 where a decision is not the one that it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from analysis.errors import ReviewError, UsageError
from analysis.gate import EXIT_CODES
from analysis.in_place import put_in_place, staging
from analysis.review import PROJECT
from analysis.sample import write
from analysis.sample.releases import RELEASES, Release, log_at

STEPS = PROJECT / ".github" / "actions" / "release-review" / "steps"
MARK = "demonstration.json"


def demonstrate(out: Path, *, quick: bool = False) -> list[str]:
    """Makes the demonstration in the folder `out`, whole or not at all; what is not as it must be.

    quick: decisions and comments alone, without sites and ledger. Raises UsageError for a folder
    that holds anything else, ReviewError where a command fails.
    """
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: holds something else; give a new or an empty folder")
    wrong = []
    with staging(out.resolve()) as building:
        outcomes = {}
        before: Path | None = None
        for release in RELEASES:
            decision, code = _reviewed(release, building, before, quick=quick)
            outcomes[release.id] = decision
            said = "ready to merge" if code == 0 else f"merge blocked (exit {code})"
            print(f"{release.id:<10} {decision:<6} {said}: {release.title}", flush=True)
            expected = (release.expected, EXIT_CODES[release.expected])
            if (decision, code) != expected:
                wrong.append(
                    f"release {release.id}: expected {expected[0]} and exit {expected[1]}, got "
                    f"{decision} and exit {code}"
                )
            before = _artifact(building, release)
            if not quick:
                _run("record", str(before), f"--ledger={building / 'releases'}", "--quiet")
        if not quick:
            told = _run("history", f"--ledger={building / 'releases'}")
            (building / "history.txt").write_text(told, encoding="utf-8")
            print(f"\n{told}")
        (building / MARK).write_text(json.dumps(outcomes, indent=2) + "\n", encoding="utf-8")
        put_in_place(building, out.resolve())
    return wrong


def _artifact(out: Path, release: Release) -> Path:
    return out / "reviews" / release.id / "review" / "decision_artifact.json"


def _reviewed(release: Release, out: Path, before: Path | None, *, quick: bool) -> tuple[str, int]:
    """The decision, and the exit code of the last step, as a runner would see it."""
    data = write(log_at(release.id), out / "telemetry" / release.id, "parquet")
    policy = out / "policy" / f"{release.id}.yml"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(policy_of(release), encoding="utf-8")
    work = out / "reviews" / release.id
    ledger = out / "releases"
    settings = {
        "DATA": str(data),
        "POLICY": str(policy),
        "KEY": "demonstration",
        "WORK": str(work),
        "PYTHON": sys.executable,
        "SITE": "false" if quick else "true",
        "COMMENT": "false",
        "BASE_ARTIFACT": str(ledger if ledger.is_dir() else before or ""),
    }
    code = 0
    for step in ("validate", "review", "gate", "comment", "finish"):
        done = subprocess.run(
            [sys.executable, str(STEPS / f"{step}.py")],
            env={**_without_runner(), **{f"RELEASE_REVIEW_{k}": v for k, v in settings.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        code = done.returncode
        if step != "finish" and code != 0:
            raise ReviewError(f"release {release.id}: {step}: {done.stderr}")
    result = json.loads((work / "result.json").read_text(encoding="utf-8"))
    if result["decision"] is None:
        raise ReviewError(f"release {release.id}: {result['why']}")
    return str(result["decision"]), code


def policy_of(release: Release) -> str:
    """The project's policy, with the windows that this release is reviewed by."""
    policy = yaml.safe_load((PROJECT / "report" / "policy.yml").read_text(encoding="utf-8"))
    policy.pop("data")
    policy["release"] = {"id": release.id, "title": release.title}
    policy["windows"] = {
        "candidate": {"days": release.days},
        "baseline": {"days": 42},
        "exclude": [
            {
                "start": other.start.isoformat(),
                "end": other.end.isoformat(),
                "reason": f"release {other.id} was blocked, and rolled back",
            }
            for other in RELEASES
            if other.id in release.excluded
        ],
    }
    text: str = yaml.safe_dump(policy, sort_keys=False, allow_unicode=True)
    return text


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "analysis", *arguments],
        cwd=PROJECT,
        env=_without_runner(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ReviewError(f"{arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _without_runner() -> dict[str, str]:
    """The environment, but for a runner's own: the demonstration is no run of a workflow."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "RELEASE_REVIEW_"))}
    # Commands see this project, wherever they start.
    return {**kept, "PYTHONPATH": str(PROJECT)}


def main(argv: Sequence[str] | None = None) -> int:
    """0 every decision is the one that it must be, 1 not, 2 a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.demonstration",
        description="Four releases: good, regressed, fixed, too little data.",
    )
    parser.add_argument("--out", type=Path, default=Path("_demo"), metavar="DIR")
    parser.add_argument(
        "--quick", action="store_true", help="decisions and comments, without sites and ledger"
    )
    a = parser.parse_args(argv)
    try:
        wrong = demonstrate(a.out, quick=a.quick)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    blocked = next(r for r in RELEASES if r.expected == "block")
    comment = a.out / "reviews" / blocked.id / "comment.md"
    print(f"\nThe comment on the pull request of {blocked.id} ({comment}):\n")
    print(comment.read_text(encoding="utf-8"))
    if not a.quick:
        page = a.out / "releases" / RELEASES[-1].id / "site" / "report" / "history.html"
        print(f"history page: {page}")
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
