"""Which clusters second moments over clusters are taken of: all, or a bounded part of many.

Up to `MAX_CLUSTERS` it is all of them. Of more, the `N_CERTAIN` largest are certain, and the rest
of the places go to a random sample of the others, in the order of md5 of their ids. Sums over the
sample stand for those over all clusters that are not certain (`stats.divergence.expanded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from analysis.telemetry.engine import Engine

MAX_CLUSTERS = 20_000
N_CERTAIN = 1_000
MAX_ROWS = 200_000  # of the baseline, for the edges of bins
MAX_CANDIDATE_ROWS = 50_000  # for the distance of values

CLUSTERS = "drift_clusters"
_UNITS = "drift_units"


@dataclass(frozen=True)
class Scope:
    """Rows of `fact f` that a comparison is about. units: clusters with such rows in the baseline,
    in the candidate, in either."""

    where: str
    units: tuple[int, int, int]


@dataclass(frozen=True)
class Choice:
    """The table `drift_clusters` (cluster, drawn), with `drawn` 0 where a cluster is certain.

    everything: the scope of all rows of both windows; known: of those with a known outcome.
    n_certain, n_rest: clusters that are certain and that are not; n_drawn: how many of the rest were
    drawn. rows: of the baseline, of the candidate.
    """

    everything: Scope
    known: Scope
    n_certain: int
    n_rest: int
    n_drawn: int
    rows: tuple[int, int]


IN_WINDOWS = "f.win IS NOT NULL AND f.weight > 0"
OUTCOME_KNOWN = f"{IN_WINDOWS} AND f.failure IS NOT NULL"


def choose(engine: Engine) -> Choice:
    """Creates `drift_clusters`, drawn by the ids of `cluster_ids`."""
    engine.create(
        _UNITS,
        f"""
        SELECT u.*, md5('drift' || coalesce(c.id, '')) AS draw FROM (
        SELECT f.cluster, count(*) FILTER (WHERE f.win = 0) AS n0, count(*) FILTER (WHERE f.win = 1) AS n1,
               count(*) FILTER (WHERE f.win = 0 AND f.failure IS NOT NULL) AS known0,
               count(*) FILTER (WHERE f.win = 1 AND f.failure IS NOT NULL) AS known1
        FROM fact f WHERE {IN_WINDOWS} GROUP BY f.cluster
        ) u LEFT JOIN cluster_ids c ON c.code = u.cluster
        """,
    )
    row = engine.row(
        f"""
        SELECT count(*) FILTER (WHERE n0 > 0), count(*) FILTER (WHERE n1 > 0), count(*),
               count(*) FILTER (WHERE known0 > 0), count(*) FILTER (WHERE known1 > 0),
               count(*) FILTER (WHERE known0 > 0 OR known1 > 0), coalesce(sum(n0), 0), coalesce(sum(n1), 0)
        FROM {_UNITS}
        """
    )
    old, new, either, known_old, known_new, known_either, *rows = map(int, row)
    everyone = either <= MAX_CLUSTERS
    engine.create(
        CLUSTERS,
        f"SELECT cluster, 0 AS drawn FROM {_UNITS}" if everyone else _largest_and_sample(),
    )
    engine.drop(_UNITS)
    return Choice(
        everything=Scope(IN_WINDOWS, (old, new, either)),
        known=Scope(OUTCOME_KNOWN, (known_old, known_new, known_either)),
        n_certain=either if everyone else N_CERTAIN,
        n_rest=0 if everyone else either - N_CERTAIN,
        n_drawn=0 if everyone else MAX_CLUSTERS - N_CERTAIN,
        rows=(rows[0], rows[1]),
    )


def _largest_and_sample() -> str:
    return f"""
        WITH largest AS (SELECT cluster FROM {_UNITS} ORDER BY n0 + n1 DESC, draw LIMIT {N_CERTAIN}),
        rest AS (SELECT cluster FROM {_UNITS} WHERE cluster NOT IN (SELECT cluster FROM largest)
                 ORDER BY draw LIMIT {MAX_CLUSTERS - N_CERTAIN})
        SELECT cluster, 0 AS drawn FROM largest UNION ALL SELECT cluster, 1 AS drawn FROM rest
        """


def forget(engine: Engine) -> None:
    """Removes the choice."""
    engine.drop(CLUSTERS)


def window_sample(choice: Choice, win: int) -> tuple[str, dict[str, object]]:
    """FROM and WHERE of a part of a window's rows (`fact f`), with parameters.

    It is all of them, where they are no more than `MAX_ROWS` (`MAX_CANDIDATE_ROWS`). Of more, each
    row of the window has the same chance, whatever the size of its cluster, so that one giant cluster
    neither fills the sample nor leaves it.
    """
    most, rows = (MAX_ROWS, MAX_CANDIDATE_ROWS)[win], choice.rows[win]
    if rows <= most:
        return f"FROM fact f WHERE f.win = {win} AND {IN_WINDOWS}", {}
    reached = Fraction(choice.n_drawn, choice.n_rest) if choice.n_rest else Fraction(1)
    # A twentieth less than there is room for: the number of rows is random.
    share = min(reached, Fraction(most * 19, rows * 20))
    return (
        f"FROM fact f JOIN {CLUSTERS} d ON f.cluster = d.cluster "
        f"WHERE f.win = {win} AND {IN_WINDOWS} AND md5('drift' || f.interaction_id) "
        "< CASE WHEN d.drawn = 1 THEN $of_drawn ELSE $of_certain END",
        {"of_drawn": _below(share / reached), "of_certain": _below(share)},
    )


def _below(share: Fraction) -> str:
    """The text below which this share of all md5 sums lies."""
    return "g" if share >= 1 else f"{int(share * 16**12):012x}"
