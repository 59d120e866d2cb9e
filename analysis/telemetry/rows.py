"""Rows that reach Python: bounded samples, examples, rows by id, and streams to score a fitted model.

A sample holds whole clusters, drawn by md5(seed ‖ cluster id): the same for any order of the input, any
number of threads, and any engine. Where all rows fit, it is all rows. Else clusters enter in the order
of their draw while they fit, so that each has the same chance, whatever its size.

One tenant of a fifth of the rows would break that: where it is drawn early nothing else fits, where
it is drawn late it is left out. Leaving it out on purpose would be no better: figures would then
speak of other customers than they seem to. So a cluster above `cluster_limit` is drawn by its
sessions instead, each with the chance of any cluster; its share of the sample is its share of the
rows, and its rows keep its `cluster_id`: it still counts as the one cluster that it is, in every
variance and every floor. All smaller clusters are whole. A single session above that limit enters
last, the smallest first, while it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from analysis.telemetry.engine import Engine, Parameters
from analysis.telemetry.sql import identifier

MAX_SAMPLE_ROWS = 200_000
SHARE_OF_A_CLUSTER = 20
"""No cluster takes more than this part (a twentieth) of a sample as a whole."""
WHOLE_BELOW = 1_000
"""Rows below which a cluster is always drawn as a whole, where it fits at all."""

_OWN = ("interaction_id", "session_id", "cluster_id")


@dataclass(frozen=True)
class Source:
    """What rows are read from: `fact`, or rows of it with more columns.

    table: a row an interaction, with all columns. rows: the same rows with the columns of `fact` alone.
    columns, joins: what makes the one of the other, named `f`; of few rows it costs less when these are
    chosen first.
    """

    table: str
    rows: str
    columns: str = ""
    joins: str = ""

    def of(self, chosen: str) -> str:
        """Chosen rows with all columns. chosen: a FROM clause in which they go by `fact`; so they do
        in the answer."""
        if not self.columns:
            return chosen
        inner = f"(SELECT fact.* FROM {chosen}) AS f"
        return f"(SELECT {self.columns} FROM {inner} {self.joins}) AS fact"


FACT = Source("fact", "fact")


def cluster_limit(max_rows: int) -> int:
    """Rows of the largest cluster that is drawn as a whole."""
    return max(max_rows // SHARE_OF_A_CLUSTER, min(max_rows, WHOLE_BELOW))


def sample(
    engine: Engine,
    columns: Sequence[str],
    where: str,
    parameters: Parameters | None = None,
    *,
    max_rows: int = MAX_SAMPLE_ROWS,
    seed: str = "sample",
    source: Source = FACT,
) -> pd.DataFrame:
    """Rows where `where` holds, as the module says, sorted by `interaction_id`.

    The frame has `interaction_id`, `session_id`, `cluster_id` and `columns`. Rows without a cluster
    are left out. where: over the columns of `fact`, whatever the source has besides.
    """
    wanted = [c for c in dict.fromkeys(columns) if c not in _OWN]
    given = dict(parameters or {})
    selected = ", ".join(
        [
            "fact.interaction_id",
            "session_ids.id AS session_id",
            "cluster_ids.id AS cluster_id",
            *(f"fact.{identifier(c)}" for c in wanted),
        ]
    )
    matching = f"(SELECT * FROM {source.rows} WHERE ({where}) AND cluster IS NOT NULL)"
    units = f"SELECT cluster, session FROM {source.rows} WHERE {where}"
    with Draw(engine, units, given, min(max_rows, MAX_SAMPLE_ROWS), seed) as draw:
        drawn = draw.sources(matching, "fact")
        parts = [f"SELECT {selected} FROM {source.of(s)} {_NAMED}" for s in drawn]
        return fetch(engine, f"{' UNION ALL '.join(parts)} ORDER BY interaction_id", given)


_NAMED = (
    "LEFT JOIN session_ids ON session_ids.code = fact.session "
    "LEFT JOIN cluster_ids ON cluster_ids.code = fact.cluster"
)


class Draw:
    """The clusters, and the sessions of large ones, that a sample takes; a context that cleans up.

    units: a statement of `cluster` and `session` (codes), one row for each thing of which at most
    `limit` are taken.
    """

    def __init__(
        self, engine: Engine, units: str, parameters: Parameters, limit: int, seed: str
    ) -> None:
        self.engine, self.limit, self.seed = engine, limit, seed
        self.units, self.parameters = units, dict(parameters)
        self.all = self.parts = False

    def __enter__(self) -> Draw:
        self.engine.create(
            "sample_sizes",
            "SELECT sizes.cluster, cluster_ids.id AS cluster_key, sizes.n FROM ("
            f"SELECT cluster, count(*) AS n FROM ({self.units}) AS units "
            "WHERE cluster IS NOT NULL GROUP BY cluster) AS sizes "
            "JOIN cluster_ids ON cluster_ids.code = sizes.cluster",
            self.parameters,
        )
        total, largest = self.engine.row(
            "SELECT coalesce(sum(n), 0), coalesce(max(n), 0) FROM sample_sizes"
        )
        self.all = int(total) <= self.limit
        self.parts = not self.all and int(largest) > cluster_limit(self.limit)
        if not self.all:
            self._draw(int(total))
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.drop(
            "sample_sizes", "sample_parts", "sample_running", "sample_clusters", "sample_sessions"
        )

    def sources(self, table: str, alias: str) -> tuple[str, ...]:
        """What to read instead of `table`, to read the sample alone: no row is in two of them."""
        if self.all:
            return (f"{table} AS {alias}",)
        whole = f"sample_clusters AS drawn ON {alias}.cluster = drawn.cluster"
        part = (
            f"sample_sessions AS drawn ON {alias}.cluster = drawn.cluster "
            f"AND {alias}.session = drawn.session"
        )
        kinds = (whole, part) if self.parts else (whole,)
        return tuple(f"{table} AS {alias} JOIN {kind}" for kind in kinds)

    def _draw(self, total: int) -> None:
        most = cluster_limit(self.limit)
        units = (
            "SELECT cluster, CAST(NULL AS VARCHAR) AS part, n, cluster_key AS unit, "
            f"md5($seed || cluster_key) AS draw FROM sample_sizes WHERE n <= {most}"
        )
        if self.parts:
            self.engine.create(
                "sample_parts",
                "SELECT large.cluster, large.session, session_ids.id AS part, large.n FROM ("
                f"SELECT units.cluster, units.session, count(*) AS n FROM ({self.units}) AS units "
                "JOIN sample_sizes AS sizes ON units.cluster = sizes.cluster "
                f"WHERE sizes.n > {most} GROUP BY units.cluster, units.session) AS large "
                "JOIN session_ids ON session_ids.code = large.session",
                self.parameters,
            )
            units += (
                " UNION ALL SELECT cluster, part, n, part AS unit, md5($seed || part) AS draw "
                "FROM sample_parts"
            )
        # Of millions only the first draws matter, and sorting the rest is most of the work.
        share = 1.2 * self.limit / total + 0.02
        if share >= 1 or not self._order(units, most, f"{int(share * 2**32):08x}"):
            self._order(units, most, "g")
        taken = f"FROM sample_running AS running WHERE running.reach <= {self.limit}"
        self.engine.create(
            "sample_clusters", f"SELECT running.cluster {taken} AND running.part IS NULL"
        )
        if self.parts:
            self.engine.create(
                "sample_sessions",
                "SELECT parts.cluster, parts.session FROM sample_parts AS parts "
                f"JOIN (SELECT running.cluster, running.part {taken}) AS drawn "
                "ON parts.cluster = drawn.cluster AND parts.part = drawn.part",
            )

    def _order(self, units: str, most: int, below: str) -> bool:
        """`sample_running`: units whose draw is below, in their order, with the rows up to each.

        No key of the order is null; to say where nulls would go is what BigQuery asks for. Returns
        whether these fill the sample without any that is too large.
        """
        self.engine.create(
            "sample_running",
            f"""
            SELECT cluster, part, n, sum(n) OVER (
                ORDER BY CASE WHEN n > {most} THEN n ELSE 0 END NULLS FIRST,
                         draw NULLS FIRST, unit NULLS FIRST
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS reach
            FROM ({units}) AS units WHERE draw < $below
            """,
            {"seed": self.seed, "below": below},
        )
        reach = self.engine.row(
            f"SELECT coalesce(max(reach) FILTER (WHERE n <= {most}), 0) FROM sample_running"
        )[0]
        return int(reach) > self.limit


def examples(engine: Engine, where: str, parameters: Parameters, n: int = 5) -> list[str]:
    """Up to `n` interaction ids, chosen by md5 so that the order of the input does not matter."""
    rows = engine.rows(
        f"SELECT interaction_id FROM fact WHERE {where} ORDER BY md5(interaction_id), interaction_id "
        f"LIMIT {int(n)}",
        parameters,
    )
    return [r[0] for r in rows]


def batches(
    engine: Engine,
    columns: Sequence[str],
    where: str,
    parameters: Parameters | None = None,
    size: int = 100_000,
    *,
    source: Source = FACT,
) -> Iterator[pd.DataFrame]:
    """All matching rows in key order, about `size` at a time."""
    selected = ", ".join(map(identifier, dict.fromkeys(["interaction_id", *columns])))
    return engine.stream(
        f"SELECT {selected} FROM {source.table} WHERE {where} ORDER BY interaction_id",
        parameters,
        size=size,
    )


def scan(
    engine: Engine,
    columns: Sequence[str],
    where: str,
    parameters: Parameters | None = None,
    size: int = 100_000,
    *,
    source: Source = FACT,
) -> Iterator[pd.DataFrame]:
    """All matching rows in no order, about `size` at a time: sorting millions is left to those who must."""
    selected = ", ".join(map(identifier, dict.fromkeys(columns)))
    sql = f"SELECT {selected} FROM {source.table} WHERE {where}"
    return ahead(engine.stream(sql, parameters, size=size))


def ahead(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same batches; while one is used, the next is read."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def rows_of(
    engine: Engine, columns: Sequence[str], ids: Sequence[str], *, source: Source = FACT
) -> pd.DataFrame:
    """`columns` of the rows with these ids, in key order: as many as people can review."""
    engine.put("wanted_rows", pd.DataFrame({"interaction_id": pd.Series(list(ids), dtype="str")}))
    try:
        selected = ", ".join(f"fact.{identifier(c)}" for c in dict.fromkeys(columns))
        wanted = (
            f"{source.rows} AS fact JOIN wanted_rows "
            "ON fact.interaction_id = wanted_rows.interaction_id"
        )
        return fetch(
            engine, f"SELECT {selected} FROM {source.of(wanted)} ORDER BY fact.interaction_id"
        )
    finally:
        engine.drop("wanted_rows")


def fetch(engine: Engine, sql: str, parameters: Parameters | None = None) -> pd.DataFrame:
    """A result of many rows as one frame, in its order: streamed, so that texts stay in columns."""
    parts = list(engine.stream(sql, parameters))
    if not parts:
        return engine.frame(sql, parameters)
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
