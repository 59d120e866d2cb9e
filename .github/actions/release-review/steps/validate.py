"""Validates the telemetry: one annotation a violation, and the violations for summary and comment.

It does not stop the steps by itself: a policy may allow quarantine, and only the review knows.
"""

from __future__ import annotations

from runner import (
    Finished,
    Result,
    Stopped,
    analysis,
    commands,
    data,
    failure,
    output,
    save,
    setting,
    tell,
    work,
)


def main() -> None:
    """Leaves `violations.json` where the contract is broken; outputs `valid`."""
    try:
        options = [f"--data={data()}", *_contract()]
    except Stopped as stop:
        _stopped(Result(None, 2, str(stop)))
        return
    done = analysis("validate", *options, "--format=github", "--quiet")
    if done.code not in (0, 1) or (done.code == 1 and not done.out.strip()):
        _stopped(Result(None, done.code, failure(done, "the telemetry cannot be read")))
        return
    commands(done.out)
    if done.code == 1:
        _keep(analysis("validate", *options, "--format=json", "--quiet"))
        save(Result(None, 1, "the telemetry breaks its contract", violated=True))
    output("valid", "true" if done.code == 0 else "false")


def _contract() -> list[str]:
    given = setting("CONTRACT")
    return [f"--contract={given}"] if given else []


def _keep(violated: Finished) -> None:
    (work() / "violations.json").write_text(violated.out, encoding="utf-8")


def _stopped(result: Result) -> None:
    tell("error", result.why)
    save(result)
    output("valid", "unknown")


if __name__ == "__main__":
    main()
