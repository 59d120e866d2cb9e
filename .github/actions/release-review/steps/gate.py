"""The gate: annotations, the decision as outputs, and what changed since the base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner import (
    Result,
    analysis,
    artifact,
    commands,
    failure,
    folder,
    output,
    policy,
    save,
    setting,
    tell,
    work,
)


def main() -> None:
    """Leaves the result; outputs decision, digest, artifact and site."""
    done = analysis("gate", str(artifact()), "--format=github")
    # Exit 1 is *block*, and an artifact that is refused: only a decision is told on stdout.
    if not done.out.strip():
        why = failure(done, "the gate said nothing")
        tell("error", why)
        save(Result(None, done.code or 1, why))
        return
    commands(done.out)
    # The gate has verified it.
    body = json.loads(artifact().read_text(encoding="utf-8"))
    save(Result(body["decision"]["outcome"], done.code))
    for name, value in (
        ("decision", body["decision"]["outcome"]),
        ("digest", body["digest"]),
        ("evidence-digest", body["evidence_digest"]),
        ("artifact", artifact()),
        ("site", folder()),
    ):
        output(name, value)
    changes(setting("BASE_ARTIFACT"))
    rules(setting("BASE_POLICY"))


def changes(base: str) -> None:
    """Leaves `changes.md`: what `diff` says of the base's artifact and this one."""
    if not base:
        return
    path = Path(base)
    if path.is_dir():
        newest = newest_of(path)
        if newest is None:
            tell("notice", f"{base}: no release is recorded there; nothing to compare with")
            return
        path = newest
    done = analysis("diff", str(path), str(artifact()), "--format=markdown")
    if done.code == 0:
        (work() / "changes.md").write_text(done.out, encoding="utf-8")
    else:
        tell("warning", f"what changed cannot be told: {failure(done, 'diff failed')}")


def rules(base: str) -> None:
    """Leaves `rules.txt` where the change brings another policy than the base has."""
    if not base:
        return
    try:
        same = Path(base).read_bytes() == Path(policy()).read_bytes()
        said = f"This change also changes the policy that judges it, {policy()}: look at both."
    except OSError:
        same = False
        said = f"The policy, {policy()}, is new with this change: the base has none there."
    if not same:
        tell("warning", said)
        (work() / "rules.txt").write_text(said, encoding="utf-8")


def newest_of(ledger: Path) -> Path | None:
    """The artifact of the release whose candidate window ends last, in a ledger's folder."""
    found = []
    for path in sorted(ledger.glob("*/decision_artifact.json")):
        try:
            body: Any = json.loads(path.read_text(encoding="utf-8"))
            found.append((str(body["windows"]["candidate"]["end_utc"]), path.parent.name, path))
        except (OSError, ValueError, KeyError, TypeError):
            tell("warning", f"{path}: is no artifact, and is left out")
    return max(found)[2] if found else None


if __name__ == "__main__":
    main()
