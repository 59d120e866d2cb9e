"""Every exception that the project raises on purpose.

ReviewError                  anything that stops a command; carries the exit code
├── UsageError         (2)   a wrong command line, a path that is absent or may not be read
│   ├── PolicyError    (2)   an invalid policy, every problem at once
│   │   └── WindowError (2)  a window that is empty or outside the data
│   └── DiskError      (2)   a folder that takes no more: full, over its quota, or read-only
├── ContractError      (1)   telemetry violates the contract, every violation at once
├── ArtifactError      (1)   an artifact that is not one, or does not agree with its digests
└── RenderError        (1)   the site or the PDF could not be made
"""

from __future__ import annotations

from collections.abc import Sequence


class ReviewError(Exception):
    """Base of all expected failures: its text is for a person, and needs no traceback."""

    exit_code = 1


class UsageError(ReviewError):
    """The command line or a path is wrong."""

    exit_code = 2


class PolicyError(UsageError):
    """The policy cannot be used; `problems` lists each key with what was expected."""

    def __init__(self, problems: Sequence[str], source: str = "policy") -> None:
        self.problems = tuple(problems)
        self.source = source
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{source}: {count} problem{'s' if count != 1 else ''}\n{lines}")


class WindowError(PolicyError):
    """A window holds no rows or lies outside the data."""


class DiskError(UsageError):
    """A folder takes no more; nothing half written is left in it."""


class ContractError(ReviewError):
    """The telemetry violates the contract; `violations` holds every one."""

    def __init__(self, message: str, violations: Sequence[object] = ()) -> None:
        self.violations = tuple(violations)
        super().__init__(message)


class ArtifactError(ReviewError):
    """An artifact is unreadable, invalid, or disagrees with its digests."""


class RenderError(ReviewError):
    """The site or the PDF could not be made; nothing was published."""
