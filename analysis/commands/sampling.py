"""`sample`: share-safe telemetry with known answers."""

from __future__ import annotations

from argparse import Namespace

from analysis.commands.output import say
from analysis.errors import UsageError
from analysis.progress import progress


def sample(a: Namespace) -> int:
    """Writes the sample, whole or not at all."""
    from analysis.sample import generate, write

    with progress(quiet=a.quiet) as told:
        told.expect(2)
        told.step(f"making {a.scenario} telemetry")
        try:
            world = generate(a.scenario, a.interactions, a.seed)
        except ValueError as error:
            raise UsageError(str(error)) from None
        told.step("writing the tables")
        write(world, a.out, a.format)
    say(a, f"wrote {a.scenario} telemetry and truth.json to {a.out}")
    return 0
