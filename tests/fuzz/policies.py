"""Policies and contracts: odd ones that may be used, and broken ones, as the bytes of a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from analysis.contract import DEFAULT_PATH
from tests.fuzz.breakages import NAMES, TEXTS, TIMES

POLICY = Path(__file__).resolve().parents[2] / "report" / "policy.yml"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1.0, 1e308, -1e308, 10**18, 2**63, 1e-320, 366, 3660, 14),
    *("", " ", "none", "auto", "is_failure", "latency_ms", "timestamp_utc", "no_such", "x" * 500),
    *(
        [],
        {},
        [[]],
        [{}],
        ["is_failure"],
        {"column": "cost_usd", "above": 0},
        {"days": 1},
        [1, "a"],
    ),
    *({"release_id": "r1"}, {"start": "2026-09-07", "end": "2026-09-09"}, "2026-09-07", "\ud800"),
)
_COLUMNS = (
    *("is_failure", "latency_ms", "cost_usd", "use_case", "timestamp_utc", "session_id", "mood"),
    *("interaction_id", "tool_error_flag", "release_id", "no_such", "response_quality_score"),
    *("model_name", "prompt_tokens", "label_available_utc", "source_row", "win", "trace_id"),
)
_NAMES = tuple(
    n
    for n in NAMES
    if n.isprintable() and 0 < len(n) < 120 and n.strip() and n not in ("null", "None")
)


def odd(rng: Random, span: int = 8) -> dict[str, Any]:
    """A policy that a team could have, for data of `span` days."""

    def column() -> str:
        return rng.choice(_COLUMNS if rng.random() < 0.8 else _NAMES)

    def bad() -> Any:
        form = rng.randrange(4)
        if form == 0:
            return column()
        limit = rng.choice([0, 0.5, 500, -1, 1e12])
        return {"column": column(), ["above", "below", "equals"][form - 1]: limit}

    def some(values: tuple[Any, ...], k: int = 3) -> list[Any]:
        return rng.sample(values, rng.randint(0, k))

    days = rng.choice([span, max(1, span // 2), max(1, span // 4), 7, 14])
    days = days if rng.random() < 0.95 else 3_660
    windows: dict[str, Any] = rng.choice(
        [
            {"candidate": {"days": days}, "baseline": "none"},
            {"candidate": {"days": max(1, days // 2)}, "baseline": {"days": days}},
            {"candidate": {"days": max(1, days // 4)}, "baseline": {"days": min(3_660, 3 * days)}},
            {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}},
            {"candidate": {"release_id": "r2"}, "baseline": "none"},
            {"candidate": {"release_id": "r1"}, "baseline": {"days": days}},
        ]
    )
    if rng.random() < 0.1:
        windows["candidate"] = {"start": rng.choice(TIMES), "end": "2026-09-20T05:00:00Z"}
    if rng.random() < 0.15:
        windows["exclude"] = [
            {"start": "2026-09-08T05:00:00Z", "end": "2026-09-09", "reason": "outage <b>"}
        ]
    made: dict[str, Any] = {
        "release": {
            "id": rng.choice(["r2", "a/b", "ü <x>"]),
            "title": rng.choice(["", "T {{< x >}}"]),
        },
        "windows": windows,
        "cluster": rng.choice(["auto", "user", "session"]),
    }
    sections: dict[str, Callable[[], Any]] = {
        "dimensions": lambda: list(dict.fromkeys([*some(_COLUMNS), column()])),
        "slos": lambda: [
            {
                "name": name,
                "bad": bad(),
                "target": rng.choice([0.5, 0.95, 0.999999]),
                "period_days": rng.choice([1, 30, 366]),
            }
            for name in some(("availability", "latency", "third"))
        ],
        "spend": lambda: {
            "budget_usd_per_day": rng.choice([None, 1e-6, 60, 1e12]),
            "prices": rng.choice(
                [
                    None,
                    [],
                    [
                        {
                            "model_name": "aurora-small",
                            "start": rng.choice(["2026-01-01", "2026-09-09", "1970-01-01"]),
                            "prompt_usd_per_million": rng.choice([0, 3]),
                            "completion_usd_per_million": 9,
                        }
                    ],
                ]
            ),
        },
        "missing": lambda: {"max_rate": rng.choice([0, 0.05, 0.5, 1])},
        "quarantine": lambda: {"allow": True, "max_share": rng.choice([0, 0.05, 0.5, 1])},
        "hotspots": lambda: {
            "metrics": list(
                dict.fromkeys([*some(("failure", "latency_breach", "cost")), column()])
            ),
            "bins": rng.choice([{}, {"hour": [6, 18], "completion_tokens": {"quantiles": 3}}]),
            "max_depth": rng.choice([1, 2, 3, 4]),
            "min_support": rng.choice([1, 5, 60]),
            "fdr": rng.choice([0.05, 0.9]),
            "min_ratio": rng.choice([1, 1.25]),
        },
        "routing": lambda: {
            "action": ["model_name"],
            "context": list(dict.fromkeys(some(_COLUMNS))),
            "failure_cost_usd": rng.choice([0, 40, 1e9]),
            "confidence": rng.choice([0.51, 0.95, 0.999]),
            "protect": some(("account_tier", "region", "no_such")),
            "candidates": [_candidate(f"c{k}", column(), rng) for k in range(rng.randint(0, 3))],
        },
        "drift": lambda: {"columns": rng.choice(["auto", list(dict.fromkeys(some(_COLUMNS)))])},
        "triage": lambda: {
            "label": rng.choice(["is_failure", "tool_error_flag", column()]),
            "decide_at": rng.choice(["request", "response", "later"]),
            "capacity_per_day": rng.choice([1e-3, 25, 1e9]),
            "review_cost_usd": rng.choice([1e-9, 2, 50]),
            "rule": rng.choice([None, None, bad()]),
        },
        "gate": lambda: {
            "error_rate": rng.choice([0.01, 0.05, 0.4]),
            "looks": rng.choice([None, None, 30, 366]),
            "severity": rng.choice([{}, {"drift.joint": "block"}, {"health.failure_rate": "note"}]),
            "limits": rng.choice([{}, {"health.failure_rate": 0.02, "health.cost_usd": 2}]),
        },
    }
    for name, make in sections.items():
        if rng.random() < 0.5:
            made[name] = make()
    made.setdefault("hotspots", {"min_support": 5})
    return made


def _candidate(name: str, column: str, rng: Random) -> dict[str, Any]:
    """A policy to backtest: learned, or by one rule."""
    if rng.random() < 0.4:
        learned = ["cheapest_within_slo", "best_unit_cost", "cascade", "share_split"]
        return {"name": name, "learn": rng.choice(learned)}
    when = rng.choice([{}, {column: rng.choice(["coding", 0, True, ["a", 1]])}])
    model = rng.choice(["nobody", "aurora-small", "cirrus-flash"])
    return {"name": name, "rules": [{"when": when, "use": {"model_name": model}}]}


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain(tree: Any) -> bytes:
    """YAML without aliases."""
    return yaml.dump(tree, Dumper=_Plain, allow_unicode=True).encode("utf-8", "surrogatepass")


# ── trees ────────────────────────────────────────────────────────────────────────────────


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    out = [(*path, key) for key, _ in items]
    for key, value in items:
        out += _places(value, (*path, key))
    return out


def _mutated(tree: Any, rng: Random) -> Any:
    """The tree with a few values, keys or branches that are something else."""
    made = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2, 5, 12])):
        places = _places(made)
        if not places:
            return made
        *above, key = rng.choice(places)
        node = made
        for step in above:
            node = node[step]
        what = rng.randrange(5)
        if what == 0:
            del node[key]
        elif what == 1 and isinstance(node, dict):
            name = rng.choice([str(key).upper(), f"{key}s", *rng.sample(TEXTS, 2), "id", "start"])
            node[name] = node.pop(key)
        elif what == 2 and isinstance(node, dict):
            node[rng.choice(["x", "looks", "rule", "end", "days", "", "\x1b[0m"])] = rng.choice(
                VALUES
            )
        else:
            node[key] = copy.deepcopy(rng.choice(VALUES))
    return made


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _text_slips(text: bytes, rng: Random) -> bytes:
    """Slips of the keyboard, and what YAML knows and a person does not expect."""
    for _ in range(rng.choice([1, 1, 2, 6])):
        place = rng.randint(0, len(text))
        lines = text.split(b"\n")
        row = rng.randrange(len(lines))
        what = rng.randrange(8)
        if what == 0:
            text = text[:place] + text[place + rng.choice([1, 5, 40]) :]
        elif what == 1:
            put = rng.choice(
                [
                    *(
                        b"&a ",
                        b"*a",
                        b"!!python/object:os.system ",
                        b"!!binary ",
                        b"!x ",
                        b"- ",
                        b": ",
                    ),
                    *(
                        b"<<: *a\n",
                        b"\t",
                        b"%",
                        b"'",
                        b'"',
                        b"{",
                        b"}",
                        b"[",
                        b"]",
                        b"? ",
                        b"|\n",
                        b">",
                    ),
                    *(
                        b"\x00",
                        b"\xff",
                        b"\xef\xbb\xbf",
                        b"\r",
                        b"---\n",
                        b"...\n",
                        b"#",
                        b"@",
                        b"`",
                    ),
                    *(b"9" * 5_000, b"1e999", b".nan", b".inf", b"0x1F", b"0o17", b"1:30:00", b"~"),
                    *(
                        b"2026-99-99",
                        b"0001-01-01",
                        b"9999-12-31T23:59:59+14:00",
                        b"yes",
                        b"\xc2\x85",
                    ),
                ]
            )
            text = text[:place] + put + text[place:]
        elif what == 2:
            text = b"\n".join([*lines[: row + 1], lines[row], *lines[row + 1 :]])
        elif what == 3:
            text = b"\n".join([*lines[:row], *lines[row + 1 :]])
        elif what == 4:
            text = b"\n".join([*lines[:row], b"  " + lines[row], *lines[row + 1 :]])
        elif what == 5:
            text = text.replace(b": ", b":", 1)
        elif what == 6:
            text += b"\n" + rng.choice(
                [
                    b"release: {id: x}",
                    b"a: &a [x]\nb: *a",
                    b"? [1]\n: 2",
                    b"null: 1",
                    b"1: 2",
                    b"--- \n{}",
                ]
            )
        else:
            text = text[:place]
    return text


def _bomb(rng: Random) -> bytes:
    levels = [b"a0: &a0 [x, x]"]
    levels += [
        b"a%d: &a%d [%s]" % (k, k, b", ".join([b"*a%d" % (k - 1)] * 9))
        for k in range(1, rng.choice([3, 30]))
    ]
    return b"\n".join(levels)


def _whole(rng: Random) -> bytes:
    return rng.choice(
        [
            *(
                b"",
                b"\n",
                b"null",
                b"[]",
                b"3",
                b"'x'",
                b"{}",
                b"release:",
                b"a",
                b"---\n---\n",
                b"\x00",
            ),
            *(b"\xff\xfe", "release: {id: ü}".encode("latin-1"), "release: {}".encode("utf-16")),
            *(_nested(50), _nested(5_000), b"{a: " * 3_000, b"- " * 2_000 + b"x", b"#" * 1_100_000),
            *(b"&a [*a]", b"&a {b: *a}", b"? " * 500, b"!!set {a, b}", b"!!omap [a: 1]", b"\t"),
        ]
    )


def broken(rng: Random) -> bytes:
    """The policy of the report, or an odd one, or nothing like it, broken."""
    text = POLICY.read_bytes()
    tree = yaml.safe_load(text) if rng.random() < 0.5 else odd(rng)
    return _broken(text, tree, rng)


def broken_contract(rng: Random) -> bytes:
    """The project's contract, broken."""
    text = DEFAULT_PATH.read_bytes()
    return _broken(text, yaml.safe_load(text), rng)


def _broken(text: bytes, tree: Any, rng: Random) -> bytes:
    form = rng.randrange(10)
    if form < 5:
        made = _mutated(tree, rng)
        if rng.random() < 0.5:
            return json.dumps(made).encode()
        return plain(made)
    if form < 8:
        return _text_slips(text, rng)
    return _bomb(rng) if form == 8 else _whole(rng)
