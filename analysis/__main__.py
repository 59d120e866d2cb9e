"""`python -m analysis COMMAND`: argument parsing only. What a command does is in `commands`."""

from __future__ import annotations

# Before all else: a signal may come while the rest is imported.
from analysis import stopping

if __name__ == "__main__":
    stopping.install()

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import commands, disk
from analysis.errors import DiskError, ReviewError
from analysis.profiles import PROFILES

MAX_THREADS = 1024
PORT = 4848


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (DESIGN section 3)."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except BaseException as error:
        # Whatever a signal broke first, it is the signal that ended the command.
        if isinstance(error, KeyboardInterrupt) or stopping.requested():
            return stopping.finish()
        code = _explained(error)
        if code is None:
            raise
        return code


def _explained(error: BaseException) -> int | None:
    """Says what stopped a command, and returns the exit code; None for a fault of the code."""
    full = disk.refusal(error)
    if isinstance(error, ReviewError):
        _tell(f"error: {error}")
        return error.exit_code
    if full is not None:
        file = error.filename if isinstance(error, OSError) else None
        _tell(f"error: {file or error}: {full}; nothing was published")
        return DiskError.exit_code
    if isinstance(error, MemoryError):
        _tell(f"error: out of memory; {_LESS_MEMORY}")
        return 1
    if isinstance(error, OSError):
        place = f" {error.filename}:" if error.filename else ""
        _tell(f"error:{place} {error.strerror or error}; nothing was published")
        return 1
    if _is_of_engine(error):
        _tell(f"error: the engine stopped: {error}; {_LESS_MEMORY}")
        return 1
    return None


def _tell(text: str) -> None:
    """A message on stderr, with nothing in it that a terminal or a runner obeys."""
    from analysis.telemetry.violations import clean

    print(clean(text, limit=None), file=sys.stderr)


_LESS_MEMORY = "try fewer --threads, another --memory-limit, or more room for temporary files"


def _is_of_engine(error: BaseException) -> bool:
    """Whether the engine ran out of memory or disk: not a fault of the code, no traceback."""
    names = {base.__name__ for base in type(error).__mro__}
    from_engine = type(error).__module__.partition(".")[0] in ("duckdb", "_duckdb")
    return from_engine and bool(names & {"OutOfMemoryException", "IOException"})


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Release review for LLM systems: telemetry in, ship, hold or block out.",
    )
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = _command(
        sub, "validate", commands.validate, "list every violation of the telemetry contract"
    )
    _data(p, required=True)
    _contract(p)
    _quarantine(p)
    _engine(p)
    p.add_argument("--format", choices=["text", "json", "junit", "github"], default="text")
    _out(p, "write the report to this file instead of stdout")

    p = _command(sub, "sample", commands.sample, "write share-safe telemetry with known answers")
    _out(p, "directory to write the three tables and truth.json to", required=True)
    p.add_argument(
        "--scenario", default="healthy", metavar="NAME", help="healthy, regressed or tiny"
    )
    p.add_argument(
        "--interactions", type=_count, metavar="N", help="interactions (default: the scenario's)"
    )
    p.add_argument("--seed", type=int, default=1, metavar="S")
    p.add_argument("--format", choices=["csv", "csv.gz", "parquet"], default="csv")

    p = _command(
        sub, "review", commands.review, "compute the review: decision_artifact.json, tables/*.csv"
    )
    _review_options(p)

    p = _command(sub, "render", commands.render, "review, and render site, PDF and sidecar")
    _renderer(p)
    _profile(p)
    _review_options(p)

    p = _command(
        sub,
        "preview",
        commands.preview,
        "serve the site on this machine, and render it again whenever a page, the policy or the data is saved",
    )
    _renderer(p)
    _profile(p)
    _review_options(p, quarantine=False)
    p.add_argument(
        "--port",
        type=_port,
        default=PORT,
        metavar="N",
        help="of 127.0.0.1; 0 takes any free one (default: %(default)s)",
    )

    p = _command(
        sub, "gate", commands.gate, "the decision as an exit code: 0 ship, 1 block, 3 hold"
    )
    p.add_argument("artifact", type=Path, metavar="ARTIFACT")
    p.add_argument(
        "--format", choices=["text", "json", "junit", "github", "markdown"], default="text"
    )
    p.add_argument(
        "--explain",
        metavar="CHECK",
        help="what this check computed, and how far it is from its limit",
    )
    _out(p, "write the report to this file instead of stdout")

    p = _command(
        sub,
        "verify",
        commands.verify,
        "check an artifact, its site and, with --data, its whole review: 0 all agrees, 1 something differs",
    )
    p.add_argument(
        "artifact",
        type=Path,
        metavar="ARTIFACT",
        help="its bytes, schema and digests are checked and, where decision.intoto.json lies beside it, "
        "every file of the site in that folder",
    )
    p.add_argument(
        "--data",
        metavar="DIR",
        help=f"compute the review again from this directory, or engine{_ADDRESSES}, and compare: decision "
        "and counts exactly, floats to 1e-6 relative",
    )
    p.add_argument(
        "--policy",
        type=Path,
        metavar="F",
        help="compare this policy file with the artifact's, and review under it (default: the settings "
        "in the artifact)",
    )
    _contract(p)
    p.add_argument(
        "--as-of", metavar="TIME", help="review as of TIME (default: the artifact's own)"
    )
    _engine(p)
    p.add_argument("--format", choices=["text", "json"], default="text")
    _out(p, "write the report to this file instead of stdout")

    p = _command(
        sub,
        "diff",
        commands.diff,
        "what changed from one artifact to another, in words, and whether it is beyond noise",
    )
    p.add_argument("before", type=Path, metavar="A", help="the artifact before")
    p.add_argument("after", type=Path, metavar="B", help="the artifact after")
    p.add_argument("--format", choices=["text", "markdown", "json"], default="text")
    _out(p, "write the comparison to this file instead of stdout")

    p = _command(
        sub,
        "migrate",
        commands.migrate,
        "bring an artifact of an older schema revision to the current one; its decision stays as it is",
    )
    p.add_argument("artifact", type=Path, metavar="ARTIFACT")
    _out(p, "write the artifact to this file instead of stdout")

    p = _command(
        sub,
        "register",
        commands.register,
        "write a policy's digest down before the release's window closes, so that a review can say "
        "whether it was the one used",
    )
    p.add_argument(
        "--policy", type=Path, metavar="F", help="policy file (default: report/policy.yml)"
    )
    p.add_argument("--release", metavar="ID", help="replaces release.id")
    p.add_argument(
        "--file",
        type=Path,
        metavar="F",
        help="the file of registrations, one line each (default: data/registrations.jsonl, which a "
        "review reads)",
    )

    p = _command(
        sub,
        "record",
        commands.record,
        "keep a release in the ledger: its artifact, tables and site, without ids of rows",
    )
    p.add_argument("artifact", type=Path, metavar="ARTIFACT")
    _ledger(p)
    _renderer(p)

    p = _command(
        sub,
        "forget",
        commands.forget,
        "remove a person's rows, or rows past retain.days, from local tables, caches and the rendered site",
    )
    p.add_argument(
        "users", nargs="*", metavar="USER", help="user ids; - reads them from stdin, one a line"
    )
    p.add_argument(
        "--expired",
        action="store_true",
        help="sessions whose newest interaction is older than the policy's retain.days",
    )
    p.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="directory with the three tables, which are rewritten",
    )
    p.add_argument(
        "--policy", type=Path, metavar="F", help="policy file (default: report/policy.yml)"
    )
    _contract(p)
    p.add_argument(
        "--quarantine", type=Path, metavar="DIR", help="rows that were set aside go from here too"
    )
    p.add_argument(
        "--as-of",
        metavar="TIME",
        help="count retain.days back from TIME (default: the day after the newest row)",
    )
    _out(p, "the rendered site to remove (default: _site)")

    p = _command(
        sub,
        "history",
        commands.history,
        "the recorded releases over time, with regressions marked",
    )
    _ledger(p)
    p.add_argument("--format", choices=["text", "json", "markdown", "csv"], default="text")
    p.add_argument("--last", type=_count, metavar="N", help="the newest N releases alone")
    _out(p, "write to this file instead of stdout")

    p = _command(
        sub,
        "routes",
        commands.routes,
        "the rules of adopted routing candidates, for a policy (yaml) or a LiteLLM proxy",
    )
    p.add_argument("artifact", type=Path, metavar="ARTIFACT")
    p.add_argument(
        "--candidate",
        metavar="NAME",
        help="this candidate, also where it is not adopted, which the text then says (default: the "
        "adopted ones; exit 2 where there are none)",
    )
    p.add_argument(
        "--format",
        choices=["yaml", "litellm"],
        default="yaml",
        help="yaml: items of routing.candidates in policy.yml; litellm: a fragment of a LiteLLM proxy's "
        "config.yaml, for one candidate, with what must be set by hand in its comments",
    )
    _out(p, "write to this file instead of stdout")

    p = _command(
        sub, "slos", commands.slos, "the policy's objectives, and the alerts on them, as OpenSLO"
    )
    p.add_argument(
        "--policy", type=Path, metavar="F", help="policy file (default: report/policy.yml)"
    )
    _out(p, "write to this file instead of stdout")

    p = _command(
        sub,
        "schema",
        commands.schema,
        "JSON Schema of the policy, the artifact or the contract, or a first file from your data",
    )
    p.add_argument("what", choices=["policy", "artifact", "contract"])
    p.add_argument(
        "--propose",
        action="store_true",
        help="write a first policy or contract from your own data instead, with comments",
    )
    p.add_argument("--data", metavar="DIR", help="directory with the three tables, for --propose")
    _contract(p)
    _out(p, "write to this file instead of stdout")
    return top


def _command(
    sub: argparse._SubParsersAction, name: str, run: object, text: str
) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    made: argparse.ArgumentParser = sub.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    made.add_argument("--quiet", action="store_true", help="no progress and no messages but errors")
    made.set_defaults(run=run)
    return made


_ADDRESSES = ": duckdb:///FILE, postgres://HOST/DATABASE, spark:local or spark://HOST:PORT"


def _data(p: argparse.ArgumentParser, *, required: bool = False) -> None:
    p.add_argument(
        "--data",
        required=required,
        metavar="DIR",
        help=f"directory with the three tables, or an engine{_ADDRESSES}",
    )


def _contract(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--contract",
        type=Path,
        metavar="F",
        help="a contract of your own, which extends data/contract.yml",
    )


def _quarantine(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--quarantine",
        type=Path,
        metavar="DIR",
        help="write the rows that break the contract to this directory (from files alone)",
    )


def _out(p: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    p.add_argument("--out", type=Path, required=required, metavar="PATH", help=text)


def _ledger(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--ledger",
        type=Path,
        metavar="DIR",
        help="the folder of recorded releases (default: data/releases of the project)",
    )


def _renderer(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--engine",
        choices=["auto", "quarto", "embedded"],
        default="auto",
        help="auto: Quarto ≥ 1.9 where it is on PATH, else the embedded engine",
    )


def _profile(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--profile",
        choices=PROFILES,
        help="whom it is for, a profile of Quarto (default: QUARTO_PROFILE, else internal); public shows "
        "share-safe reviews alone",
    )


def _review_options(p: argparse.ArgumentParser, *, quarantine: bool = True) -> None:
    p.add_argument(
        "--data",
        metavar="DIR",
        help=f"directory with the three tables, or an engine{_ADDRESSES} "
        "(default: the policy's `data`)",
    )
    p.add_argument(
        "--policy", type=Path, metavar="F", help="policy file (default: report/policy.yml)"
    )
    _contract(p)
    if quarantine:
        _quarantine(p)
    p.add_argument("--release", metavar="ID", help="replaces release.id")
    p.add_argument(
        "--as-of", metavar="TIME", help="ends the candidate at the last UTC midnight not after TIME"
    )
    _out(p, "directory for the result")
    _engine(p)


def _engine(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="threads of the engine (default: one a processor); the result is the same for any number",
    )
    p.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="memory of the engine, for example 4GB or 512MiB (default: 80 %% of what there is, at most "
        "2500MiB); what does not fit goes to the folder for temporary files (TMPDIR)",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _threads(text: str) -> int:
    value = _count(text)
    if value > MAX_THREADS:
        # The engine starts as many as it is told, and never gets to work.
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_THREADS}")
    return value


def _run() -> int:
    """As a program: what a terminal or a pipe cannot show is escaped instead of fatal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    finally:
        stopping.uninstall()


if __name__ == "__main__":
    sys.exit(_run())
