"""Reads the headline figures of the recorded releases that `gate.baselines` chooses from.

Each folder in the ledger with a `decision_artifact.json` counts whose release id the policy's pattern
matches. One whose digests do not hold is the policy's fault, and said before anything is computed: a
baseline that somebody changed is worse than none.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from analysis import artifact as artifacts
from analysis.check import Interval
from analysis.errors import PolicyError
from analysis.ledger_names import RELEASES, is_folder_name
from analysis.policy import Policy
from analysis.policy_gate import FIGURES
from analysis.recorded import Unusable, artifact_of, input_of
from analysis.telemetry.recorded import RecordedFigures


def recorded_figures(policy: Policy, project: Path, source: str) -> tuple[RecordedFigures, ...]:
    """The releases of the project's ledger that match, by the end of their window, then by id.

    source: what the policy was read from. Raises PolicyError with every problem.
    """
    if policy.gate.baselines is None:
        return ()
    found, problems = [], []
    for path in sorted((project / RELEASES).glob(f"*/{artifacts.FILE_NAME}")):
        if not is_folder_name(path.parent.name):
            continue  # a release that is being recorded
        named = f"{RELEASES}/{path.parent.name}"
        try:
            release = _read(path, f"{named}/{path.name}")
        except Unusable as error:
            problems.append(f"gate.baselines: {named}: {error}")
            continue
        if fnmatch.fnmatchcase(release.release_id, policy.gate.baselines.releases):
            found.append(release)
    if problems:
        raise PolicyError(problems, source)
    return tuple(sorted(found, key=lambda r: (r.end_utc, r.release_id)))


def _read(path: Path, named: str) -> RecordedFigures:
    body, raw = artifact_of(path)
    try:
        window, health = body["windows"]["candidate"], body["views"]["health"]["candidate"]
        slos = body["policy"]["settings"]["slos"]
        rule = next((slo["bad"] for slo in slos if slo["name"] == "latency"), None)
        return RecordedFigures(
            release_id=str(body["release"]["id"]),
            start_utc=str(window["start_utc"]),
            end_utc=str(window["end_utc"]),
            outcome=str(body["decision"]["outcome"]),
            figures={name: Interval(**health[name]) for name in FIGURES},
            latency_rule={"column": rule} if isinstance(rule, str) else rule,
            input=input_of("gate.baselines", named, raw),
        )
    except (KeyError, TypeError, StopIteration):
        raise Unusable("is no artifact of a review") from None
