"""What each command does. Results go to stdout or `--out`, messages to stderr."""

from __future__ import annotations

from analysis.commands.artifacts import gate, migrate, routes, verify
from analysis.commands.comparing import diff
from analysis.commands.forgetting import forget
from analysis.commands.ledger import history, record
from analysis.commands.objectives import slos
from analysis.commands.registering import register
from analysis.commands.reviewing import preview, render, review
from analysis.commands.sampling import sample
from analysis.commands.schemas import schema
from analysis.commands.validating import validate

__all__ = [
    "diff",
    "forget",
    "gate",
    "history",
    "migrate",
    "preview",
    "record",
    "register",
    "render",
    "review",
    "routes",
    "sample",
    "schema",
    "slos",
    "validate",
    "verify",
]
