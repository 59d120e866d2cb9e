"""`register`: writes a policy's digest down before the release's window closes."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from analysis.commands.output import show


def register(a: Namespace) -> int:
    """Adds one line to the project's registrations; the same policy again adds nothing."""
    from analysis import policy as policies
    from analysis import registration
    from analysis.review import PROJECT

    path = a.policy if a.policy is not None else PROJECT / "report" / "policy.yml"
    loaded = policies.load(path, release_id=a.release)
    place = a.file if a.file is not None else PROJECT / registration.FILE
    found, new = registration.register(loaded, place, datetime.now(UTC))
    what = "registered" if new else "registered before"
    show(f"{what}: release {found.release}, policy {found.policy_sha256}, {found.registered_utc}")
    return 0
