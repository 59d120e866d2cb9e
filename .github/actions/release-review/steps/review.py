"""Computes the review, and renders it: site, PDF, tables and `decision_artifact.json`.

With `site: false` nothing is rendered: artifact and tables alone, in a fraction of the time.
"""

from __future__ import annotations

from runner import (
    Result,
    analysis,
    artifact,
    data,
    failure,
    folder,
    load,
    log,
    output,
    policy,
    save,
    setting,
    tell,
)

OPTIONS = {
    "CONTRACT": "--contract",
    "RELEASE": "--release",
    "AS_OF": "--as-of",
    "MEMORY_LIMIT": "--memory-limit",
}


def main() -> None:
    """Outputs `reviewed`; where that is false, the result says why."""
    before = load()
    if before is not None and not before.violated:
        output("reviewed", "false")
        return
    given = [f"{option}={setting(name)}" for name, option in OPTIONS.items() if setting(name)]
    if setting("SITE", "true") == "true":
        command = ["render", f"--engine={setting('ENGINE', 'auto')}"]
    else:
        command = ["review"]
    where = [f"--data={data()}", f"--policy={policy()}", f"--out={folder()}"]
    done = analysis(*command, *where, *given)
    log(done.err)
    log(done.out)
    if done.code == 0 and artifact().exists():
        output("reviewed", "true")
        return
    output("reviewed", "false")
    if before is None:
        why = failure(done, "the review could not be computed")
        tell("error", why)
        save(Result(None, done.code or 1, why))


if __name__ == "__main__":
    main()
