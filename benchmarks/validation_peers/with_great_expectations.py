"""Great Expectations: one suite of expectations a table, over pandas.

    python -m benchmarks.validation_peers.with_great_expectations DIR

It has no engine for polars, and its SQL engine does not work with DuckDB. Numbers that are not finite
are missing values to pandas, and no expectation says that one column is the sum of two others. Prints
`{rule: failed expectations}` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
from great_expectations.data_context.types.base import ProgressBarsConfig

from benchmarks.validation_peers.rules import (
    ABOVE_LOW,
    CONTENT,
    INTERACTIONS,
    KEY_COLUMNS,
    KEYS,
    MAX_MISSING,
    NOT_MISSING,
    RANGES,
    SESSIONS,
    TIME_FORMAT,
    TOKEN_PARTS,
    TYPES,
)

ARROW = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


def expectations(table: str) -> list[gxe.Expectation]:
    """Everything that the contract says about one table alone; `meta` names the rule."""
    out = [_of("key_unique", gxe.ExpectColumnValuesToBeUnique, column=KEYS[table])]
    for key in KEY_COLUMNS[table]:
        out.append(_of("key_null", gxe.ExpectColumnValuesToNotBeNull, column=key))
        blank = {"column": key, "regex": "^ *$"}
        out.append(_of("key_null", gxe.ExpectColumnValuesToNotMatchRegex, **blank))
    for column, (low, high) in RANGES[table].items():
        limits = {"min_value": low, "max_value": high, "strict_min": column in ABOVE_LOW}
        out.append(_of("ranges", gxe.ExpectColumnValuesToBeBetween, column=column, **limits))
    if table == SESSIONS:
        out.append(_at_most("session_order", "start_timestamp_utc", "end_timestamp_utc"))
    if table == INTERACTIONS:
        out += [_at_most("token_sum", part, whole) for part, whole in TOKEN_PARTS]
        for column in NOT_MISSING:
            share = {"column": column, "mostly": 1 - MAX_MISSING}
            out.append(_of("missing_rate", gxe.ExpectColumnValuesToNotBeNull, **share))
        content = list(CONTENT)
        out.append(_of("duplicate_rows", gxe.ExpectCompoundColumnsToBeUnique, column_list=content))
    return out


def _of(rule: str, kind: type[gxe.Expectation], **settings: object) -> gxe.Expectation:
    return kind(meta={"rule": rule}, **settings)


def _at_most(rule: str, small: str, large: str) -> gxe.Expectation:
    return _of(
        rule,
        gxe.ExpectColumnPairValuesAToBeGreaterThanB,
        column_A=large,
        column_B=small,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
    )


def _read(data: Path, table: str) -> pd.DataFrame:
    """Raises ArrowInvalid where a CSV cell does not fit its type."""
    parquet = data / f"{table}.parquet"
    if parquet.exists():
        return pd.read_parquet(parquet)
    convert = pa_csv.ConvertOptions(
        column_types={c: ARROW[kind] for c, kind in TYPES[table].items()},
        strings_can_be_null=True,
        null_values=[""],
        timestamp_parsers=[TIME_FORMAT],
    )
    return pa_csv.read_csv(data / f"{table}.csv", convert_options=convert).to_pandas()


def _broken(table: str, rows: pd.DataFrame) -> Counter[str]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite(name=table, expectations=expectations(table))
    failed = [
        r for r in batch.validate(suite, result_format="BOOLEAN_ONLY").results if not r.success
    ]
    for result in failed:
        if result.exception_info.get("raised_exception"):
            raise RuntimeError(f"{result.expectation_config.type} could not be evaluated")
    return Counter(r.expectation_config.meta["rule"] for r in failed)


def main() -> None:
    """Prints `{rule: failed expectations}`."""
    broken: Counter[str] = Counter()
    try:
        for table in TYPES:
            broken += _broken(table, _read(Path(sys.argv[1]), table))
    except pa.ArrowInvalid:
        broken["types"] += 1  # a cell that does not fit stops the reading
    print(json.dumps(broken))


if __name__ == "__main__":
    main()
