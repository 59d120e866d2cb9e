"""Time and memory of a whole review by the number of interactions: what it costs, beside its floor.

    .venv/bin/python benchmarks/scale.py [--sizes 10000 100000 1000000 10000000] [--formats parquet csv]
        [--only floor project notebook] [--repeat 3] [--out FILE] [--plot FILE.png]

Prints a Markdown table, and draws the cost per row. How to read it:

- Each row is one process from start to end, imports included, on telemetry without a violation, in the
  page cache; the median of the runs. From five million interactions on each runs once. Sizes up to a
  million are samples; above it they are copies of the million under other ids.
- `project` runs in a copy of the tree with a cache of its own. `validate` is the command. `review` is
  the first one: nothing is in the cache. `review, policy changed` is one with another policy, of the
  same telemetry: its encoded copy is read from the cache, and the benchmark ends where it is not.
  `render` has a cache with that copy, and no pages: it reviews, draws all figures and tables, makes
  site and PDF with the embedded engine. `render, drawn` finds them. `render alone` is the first of
  these less a review from the cache: drawing, site and PDF.
- `floor` is DuckDB SQL and numpy by hand for the same reductions (`scale_peers/floor.py`): `validate`
  is a process; `review` is the sum of its parts, in one process that starts them one after another,
  and a row each below it. It says nothing but the numbers: no intervals, tests, texts or files.
- `notebook` is the same questions in pandas (`scale_peers/notebook.py`), without clusters.
- `wall / floor` is against the floor's `validate`, or the sum of its `review`; a review whose encoded
  copy is in the cache is held against that sum without `validate` and `read`. It carries over between
  machines where seconds do not; where others use the machine, `CPU / floor` says more. `µs a row` is
  the wall time by interactions: flat or falling is good.
- `stopped` instead of numbers: above the limit of time or memory, which are the same for all.

The telemetry is kept in `.cache/benchmarks/data`: some 4 GB with ten million. A hundred million take
ten times as much, and are made where there is room.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import (
    CACHE,
    FORMATS,
    LARGE,
    PROJECT,
    Cost,
    Limits,
    Run,
    Stopped,
    machine_mib,
    median,
    run,
    say,
    telemetry,
    where,
)

if TYPE_CHECKING:
    import pandas as pd

WHO = ("floor", "project", "notebook")
PACKAGES = ("duckdb", "numpy", "scipy", "pandas", "scikit-learn", "pyarrow")
TREE = ("analysis", "report", "data", "_extensions", "_quarto.yml")
VALIDATE, REVIEW, AGAIN = "validate", "review", "review, policy changed"
RENDER, DRAWN, ALONE = "render", "render, drawn", "render alone"
PLOTTED = (
    (REVIEW, "review"),
    (AGAIN, "review, cached"),
    (VALIDATE, "validate"),
    (RENDER, "render"),
)
LABEL_HEIGHT = 0.13  # of the plot, in decades

Costs = dict[tuple[str, str], list[Cost]]
"""(who, command) → a cost a run."""


@dataclass(frozen=True)
class Line:
    """One line of the table; cost is why it was stopped where it was. floor: what it is held against."""

    size: int
    end: str
    who: str
    command: str
    cost: Cost | str
    floor: Cost | None

    def text(self) -> str:
        """As Markdown."""
        start = f"| {self.size:,} | {self.end} | {self.who} | {self.command} |"
        if isinstance(self.cost, str):
            return f"{start} stopped: {self.cost} | – | – | – | – | – |"
        peak = f"{self.cost.peak:,.0f}" if self.cost.peak else "–"
        ratios = "– | –"
        if self.floor is not None:
            wall, cpu = self.cost.wall / self.floor.wall, self.cost.cpu / self.floor.cpu
            ratios = f"{wall:.1f} | {cpu:.1f}"
        return (
            f"{start} {self.cost.wall:.2f} | {self.cost.cpu:.2f} | {peak} | {ratios} "
            f"| {self.cost.wall / self.size * 1e6:.2f} |"
        )


HEAD = (
    "| interactions | format | who | command | wall s | CPU s | peak MiB | wall / floor | CPU / floor "
    "| µs a row |\n| ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


# ── what is run ──────────────────────────────────────────────────────────────────────────


@contextmanager
def own_tree() -> Iterator[Path]:
    """A copy of the project, whose cache is its own."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="tree-") as name:
        tree = Path(name)
        for part in TREE:
            if (PROJECT / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / part, tree / part, ignore=ignored)
            else:
                shutil.copyfile(PROJECT / part, tree / part)
        changed_policy(tree)
        # A repository of its own: else the cache would follow the commits of the one around it.
        subprocess.run(["git", "init", "--quiet", name], check=True)
        yield tree


def changed_policy(tree: Path) -> Path:
    """Another error rate in a policy beside the project's own: nothing that is encoded moves."""
    policy = (tree / "report" / "policy.yml").read_text(encoding="utf-8")
    changed = policy.replace("error_rate: 0.05", "error_rate: 0.04")
    if changed == policy:
        raise SystemExit("report/policy.yml has no error_rate of 0.05 to change")
    path = tree / "report" / "policy-changed.yml"
    path.write_text(changed, encoding="utf-8")
    return path


def finished(what: str, argv: Sequence[str], limits: Limits, cwd: Path = PROJECT) -> Run:
    """A run that succeeded. Ends the benchmark where it does not."""
    done = run([sys.executable, "-m", *argv], limits, cwd)
    if done.status:
        raise SystemExit(f"{what} failed: {(done.errors or done.output)[-800:]}")
    return done


def run_floor(data: Path, limits: Limits, costs: Costs) -> None:
    """Validation by itself, and all parts, each timed."""
    done = finished("the floor", ["benchmarks.validation_peers.floor", str(data)], limits)
    if json.loads(done.output):
        raise SystemExit(f"the floor finds violations in {data.name}: {done.output[:800]}")
    _add(costs, "floor", VALIDATE, done.cost)
    done = finished("the floor", ["benchmarks.scale_peers.floor", str(data)], limits)
    parts: Mapping[str, Mapping[str, float]] = json.loads(done.output)["parts"]
    wall, cpu = (sum(part[k] for part in parts.values()) for k in ("wall", "cpu"))
    _add(costs, "floor", REVIEW, Cost(wall, cpu, done.cost.peak))
    for name, part in parts.items():
        _add(costs, "floor", f"· {name}", Cost(part["wall"], part["cpu"], 0.0))


def run_notebook(data: Path, limits: Limits, costs: Costs) -> None:
    """The whole notebook."""
    done = finished("the notebook", ["benchmarks.scale_peers.notebook", str(data)], limits)
    _add(costs, "notebook", REVIEW, done.cost)


def run_project(data: Path, limits: Limits, costs: Costs, tree: Path) -> None:
    """Each command once, from an empty cache on."""
    cache = tree / ".cache"
    shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(tree / "_site", ignore_errors=True)
    given = ["--data", str(data.resolve()), "--quiet"]
    render = ["render", *given, "--engine", "embedded", "--out", str(tree / "_site")]
    policy = str(tree / "report" / "policy-changed.yml")
    held: set[tuple[str, int]] = set()
    for command, argv in (
        (VALIDATE, ["validate", "--data", str(data.resolve()), "--format", "json"]),
        (REVIEW, ["review", *given]),
        (AGAIN, ["review", *given, "--policy", policy]),
        (RENDER, render),
        (DRAWN, render),
    ):
        done = finished(f"{command} of {data.name}", ["analysis", *argv], limits, tree)
        _add(costs, "project", command, done.cost)
        now = encoded(cache)
        if held and now != held:
            raise SystemExit(f"{command} of {data.name} encodes the telemetry again")
        held = now
    shutil.rmtree(cache, ignore_errors=True)


def encoded(cache: Path) -> set[tuple[str, int]]:
    """The encoded copies in the cache: where, and when they were written."""
    files = (cache / "encoded").glob("*/encoded.duckdb")
    return {(str(path), path.stat().st_mtime_ns) for path in files}


def _add(costs: Costs, who: str, command: str, cost: Cost) -> None:
    costs.setdefault((who, command), []).append(cost)


def measured(
    data: Path, who: Sequence[str], repeat: int, limits: Limits, tree: Path
) -> dict[tuple[str, str], Cost | str]:
    """(who, command) → its median, or why it was stopped, in the order in which they ran."""
    costs: Costs = {}
    stopped: dict[str, str] = {}
    for _ in range(repeat):
        for name in who:
            if name in stopped:
                continue
            try:
                if name == "floor":
                    run_floor(data, limits, costs)
                elif name == "project":
                    run_project(data, limits, costs, tree)
                else:
                    run_notebook(data, limits, costs)
            except Stopped as reason:
                stopped[name] = str(reason)
    out: dict[tuple[str, str], Cost | str] = {key: median(runs) for key, runs in costs.items()}
    for name, reason in stopped.items():
        out = {key: cost for key, cost in out.items() if key[0] != name}
        out[name, REVIEW] = reason
    return out


# ── the table and the plot ───────────────────────────────────────────────────────────────


def lines(size: int, end: str, costs: Mapping[tuple[str, str], Cost | str]) -> list[Line]:
    """The table's lines of one size and format."""

    def floor(command: str) -> Cost | None:
        cost = costs.get(("floor", command))
        return cost if isinstance(cost, Cost) else None

    whole, parts = floor(REVIEW), (floor("· validate"), floor("· read"))
    floors = {VALIDATE: floor(VALIDATE), REVIEW: whole}
    if whole is not None:
        done = [part for part in parts if part is not None]
        wall, cpu = sum(part.wall for part in done), sum(part.cpu for part in done)
        floors[AGAIN] = Cost(whole.wall - wall, whole.cpu - cpu, 0.0)
    out = []
    for (who, command), cost in costs.items():
        out.append(Line(size, end, who, command, cost, floors.get(command)))
        if command == DRAWN:
            first, known = costs[who, RENDER], costs[who, AGAIN]
            if isinstance(first, Cost) and isinstance(known, Cost):
                alone = Cost(first.wall - known.wall, first.cpu - known.cpu, 0.0)
                out.append(Line(size, end, who, ALONE, alone, None))
    return out


def plot(table: Sequence[Line], path: Path) -> None:
    """Cost per row against rows, a line a command."""
    import pandas as pd
    import plotnine as p9

    shown = dict(PLOTTED)
    frame = pd.DataFrame(
        [
            (line.size, line.end, line.who, f"{line.who}: {shown[line.command]}",
             line.cost.wall / line.size * 1e6)
            for line in table
            if isinstance(line.cost, Cost) and line.command in shown
        ],
        columns=["rows", "format", "who", "line", "cost"],
    )  # fmt: skip
    ends = frame.sort_values("rows").groupby(["format", "line"]).tail(1)
    ends = ends.assign(at=ends.groupby("format")["cost"].transform(_apart))
    sizes = sorted(frame["rows"].unique())
    drawn = (
        p9.ggplot(frame, p9.aes("rows", "cost", group="line", color="who", shape="who"))
        + p9.geom_line()
        + p9.geom_point(size=2)
        + p9.geom_text(p9.aes(y="at", label="line"), data=ends, ha="left", nudge_x=0.08, size=8)
        + p9.facet_wrap("format", ncol=1)
        + p9.scale_x_log10(breaks=sizes, labels=[f"{s:,}" for s in sizes], expand=(0.05, 0, 0.05, 1.2))
        + p9.scale_y_log10()
        + p9.scale_color_manual({"floor": "#595959", "project": "#0072B2", "notebook": "#D55E00"})
        + p9.labs(x="interactions", y="µs a row, wall time", title="What a row costs, by number of rows")
        + p9.theme_minimal()
        + p9.theme(legend_position="none", figure_size=(9, 4 * frame["format"].nunique()))
    )  # fmt: skip
    drawn.save(path, dpi=120, verbose=False)


def _apart(costs: pd.Series) -> pd.Series:
    """Where labels stand on a scale of logarithms so that none covers another, in their order."""
    places, reach = {}, -math.inf
    for index, value in costs.sort_values().items():
        reach = max(math.log10(value), reach + LABEL_HEIGHT)
        places[index] = 10**reach
    return costs.index.map(places).to_series(index=costs.index)


# ── running ──────────────────────────────────────────────────────────────────────────────


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--only", nargs="+", choices=WHO, default=list(WHO))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--max-gib", type=float, default=0.75 * machine_mib() / 1024)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


def main() -> None:
    """Prints the table size by size, as the results come."""
    a = _arguments()
    limits = Limits(a.max_seconds, a.max_gib * 1024)
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in PACKAGES)
    told = [f"{where(limits, versions)}\n\n{HEAD}"]
    print(told[0], flush=True)
    table: list[Line] = []
    with own_tree() as tree:
        for end in a.formats:
            for size in a.sizes:
                say(f"{size:,} interactions as {end}")
                data = telemetry(size, end)
                repeat = 1 if size >= LARGE else a.repeat
                found = lines(size, end, measured(data, a.only, repeat, limits, tree))
                table += found
                told += [line.text() for line in found]
                print("\n".join(line.text() for line in found), flush=True)
    if a.out is not None:
        a.out.write_text("\n".join(told) + "\n", encoding="utf-8")
    if a.plot is not None:
        plot(table, a.plot)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
