"""Objectives as OpenSLO documents, version `openslo/v1` (github.com/OpenSLO/OpenSLO).

What a document says is mapped where this project means the same by it, and refused where it does not:

    kind SLO, budgetingMethod Occurrences; SLI and DataSource where an SLO refers to them
    ratioMetric      bad | good, and total; a good metric is a flag: {column}, or {column, equals: true|false}
    thresholdMetric  {column} with the objective's op and value, which say what is good; or
                     {column, above | below | at_least | at_most | equals}, which says what is bad
    timeWindow       rolling Nd, Nw; calendar 1M, 1Q in UTC

`metadata.annotations` may hold `release-review.by`: the columns whose values have a budget each.
A metric source has `type: release-review`; its `spec` names a column of the interactions, and rows that
do not know it are no part of the total. Other kinds (Service, AlertPolicy, AlertCondition,
AlertNotificationTarget) are read past: which alerts there are does not depend on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis import strict_yaml
from analysis.errors import PolicyError, UsageError
from analysis.openslo_document import (
    BY,
    GOOD_WHEN,
    NAME,
    PERIODS,
    SOURCE,
    VERSION,
)
from analysis.policy_problems import again, hint_for
from analysis.policy_slos import Slo
from analysis.strict_yaml import DATE

_PAST = ("Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget")
_LIMITS = ("above", "below", "at_least", "at_most", "equals")
_UTC = ("UTC", "Etc/UTC", "Etc/Universal", "Etc/Zulu", "GMT", "Etc/GMT")
_FIRST_MONTHS = {"1M": range(1, 13), "1Q": range(1, 13, 3)}


def read(path: Path) -> tuple[Slo, ...]:
    """The objectives of an OpenSLO file of one document or more.

    Raises UsageError where it cannot be read, PolicyError with every problem.
    """
    found, problems = parse(content(path), str(path))
    if problems:
        raise PolicyError(problems, str(path))
    return found


def content(path: Path) -> bytes:
    """The bytes of an OpenSLO file. Raises UsageError where it cannot be read, or is no such file."""
    try:
        with path.open("rb") as file:
            raw = file.read(strict_yaml.MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or 'cannot be read'}") from None
    if len(raw) > strict_yaml.MAX_BYTES:
        raise UsageError(f"{path}: the file is larger than {strict_yaml.MAX_BYTES:,} bytes")
    return raw


def parse(raw: bytes, source: str = "slos") -> tuple[tuple[Slo, ...], list[str]]:
    """The objectives in the bytes of such a file, and every problem.

    Raises PolicyError where it is no YAML.
    """
    documents = strict_yaml.documents(raw, source)
    problems = [
        f"document {i + 1}: {p}" for i, d in enumerate(documents) for p in d.problems.values()
    ]
    kept = [
        _Document(d.data, f"document {i + 1}", problems)
        for i, d in enumerate(documents)
        if d.data is not None
    ]
    known = _Known(kept)
    slos: list[Slo] = []
    for one in kept:
        if one.kind == "SLO":
            before = len(problems)
            own = _objectives(one, known)
            slos += own if len(problems) == before else []
    if not slos and not problems:
        problems.append(f"holds no objective; expected a document of {VERSION} with kind: SLO")
    names = [slo.name for slo in slos]
    problems += [
        f"{names[i]!r} is another objective's name; names are told apart" for i in again(names)
    ]
    return tuple(slos), problems


class _Document:
    """One document; what is wrong with it is added to `problems`, with its path."""

    def __init__(self, data: Any, where: str, problems: list[str]) -> None:
        self.where = where
        self._problems = problems
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        self.kind, self.name = "", ""
        if not isinstance(data, dict):
            self.refuse("", "expected keys and values")
            return
        if data.get("apiVersion") != VERSION:
            self.refuse("apiVersion", f"found {data.get('apiVersion')!r}; expected {VERSION}")
            return
        metadata = self.mapping("metadata", data.get("metadata"))
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            self.refuse("metadata.name", "expected a name")
        else:
            self.name = name
            self.where = f"{where} ({strict_yaml.short(name)})"
        kinds = ("SLO", "SLI", "DataSource", *_PAST)
        kind = data.get("kind")
        if kind not in kinds:
            self.refuse("kind", f"found {kind!r}{hint_for(str(kind), kinds)}")
        else:
            self.kind = str(kind)

    def refuse(self, path: str, problem: str) -> None:
        self._problems.append(
            f"{self.where}: {path}: {problem}" if path else f"{self.where}: {problem}"
        )

    def mapping(self, path: str, value: Any) -> Mapping[str, Any]:
        """Keys and values at a path; none, and a problem, where it is no such thing."""
        if isinstance(value, dict):
            return value
        self.refuse(path, "is missing" if value is None else "expected keys and values")
        return {}

    def only(self, path: str, value: Mapping[str, Any], known: Sequence[str]) -> None:
        """A problem for each key that is not known."""
        for key in value:
            if key not in known:
                self.refuse(
                    f"{path}.{strict_yaml.short(key)}", f"unknown key{hint_for(key, known)}"
                )


class _Known:
    """What documents refer to: indicators and data sources by name."""

    def __init__(self, documents: Iterable[_Document]) -> None:
        self.indicators: dict[str, Any] = {}
        self.sources: dict[str, Any] = {}
        for document in documents:
            spec = document.data.get("spec")
            if document.kind == "SLI":
                self.indicators[document.name] = spec
            elif document.kind == "DataSource":
                self.sources[document.name] = spec.get("type") if isinstance(spec, dict) else None


_SPEC = ("description", "service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod",
         "objectives", "alertPolicies")  # fmt: skip
_OBJECTIVE = ("displayName", "op", "value", "target", "targetPercent")


def _objectives(document: _Document, known: _Known) -> list[Slo]:
    """The objectives of an SLO document: one each."""
    spec = document.mapping("spec", document.data.get("spec"))
    if not spec:
        return []
    document.only("spec", spec, _SPEC)
    method = spec.get("budgetingMethod")
    if method != "Occurrences":
        document.refuse(
            "spec.budgetingMethod",
            f"found {method!r}; expected Occurrences: budgets here count interactions, not slices of time",
        )
    metric = _metric(document, spec, known)
    period = _period(document, spec.get("timeWindow"))
    listed = spec.get("objectives")
    if not isinstance(listed, list) or not listed:
        document.refuse("spec.objectives", "expected a list of at least one objective")
        return []
    if metric is not None and metric.threshold and len(listed) > 1:
        document.refuse("spec.objectives", "a thresholdMetric has one objective")
        return []
    told = document.data.get("metadata", {}).get("annotations")
    annotations = told if isinstance(told, dict) else {}
    given = annotations.get(NAME)
    name = given if isinstance(given, str) else document.name
    by = _by(document, annotations.get(BY))
    out = []
    for i, value in enumerate(listed):
        path = f"spec.objectives[{i}]"
        objective = document.mapping(path, value)
        document.only(path, objective, _OBJECTIVE)
        target = _target(document, path, objective)
        bad = None if metric is None else _bad(document, path, objective, metric)
        if target is None or bad is None or period is None or not name:
            continue
        own = name if len(listed) == 1 else f"{name}-{i + 1}"
        try:
            out.append(
                Slo.model_validate({"name": own, "bad": bad, "target": target, "by": by, **period})
            )
        except ValidationError as error:
            for item in error.errors():
                at = ".".join(str(part) for part in item["loc"])
                document.refuse(
                    path, f"{at + ': ' if at else ''}{item['msg']} (found {item['input']!r})"
                )
    return out


def _by(document: _Document, value: Any) -> list[str]:
    """The columns of the annotation that holds them."""
    if value is None:
        return []
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(c, str) for c in found):
        document.refuse(
            f"metadata.annotations.{BY}",
            f'found {value!r}; expected a list such as ["account_tier"]',
        )
        return []
    return found


@dataclass(frozen=True)
class _Metric:
    """rule: what is bad, or the bare column where the objective says it. threshold: which kind."""

    rule: dict[str, Any]
    threshold: bool


def _metric(document: _Document, spec: Mapping[str, Any], known: _Known) -> _Metric | None:
    """The indicator of an SLO, in place or by name."""
    inline, named = spec.get("indicator"), spec.get("indicatorRef")
    if (inline is None) == (named is None):
        document.refuse("spec", "give exactly one of: indicator, indicatorRef")
        return None
    path = "spec.indicator.spec"
    if named is not None:
        if named not in known.indicators:
            document.refuse("spec.indicatorRef", f"no SLI is called {named!r} in this file")
            return None
        path = f"SLI {strict_yaml.short(str(named))}: spec"
        body = known.indicators[named]
    else:
        body = document.mapping("spec.indicator", inline).get("spec")
    sli = document.mapping(path, body)
    if not sli:
        return None
    document.only(path, sli, ("description", "thresholdMetric", "ratioMetric"))
    if ("thresholdMetric" in sli) == ("ratioMetric" in sli):
        document.refuse(path, "give exactly one of: thresholdMetric, ratioMetric")
        return None
    if "thresholdMetric" in sli:
        path = f"{path}.thresholdMetric"
        rule = _source(document, path, sli["thresholdMetric"], known)
        return None if rule is None else _Metric(rule, True)
    return _ratio(document, f"{path}.ratioMetric", sli["ratioMetric"], known)


def _ratio(document: _Document, path: str, value: Any, known: _Known) -> _Metric | None:
    ratio = document.mapping(path, value)
    if not ratio:
        return None
    document.only(path, ratio, ("counter", "good", "bad", "total", "raw", "rawType"))
    if "raw" in ratio or "rawType" in ratio:
        document.refuse(
            path, "raw ratios cannot be read: give bad (or good) and total, which are counted here"
        )
        return None
    if ("good" in ratio) == ("bad" in ratio):
        document.refuse(path, "give exactly one of: good, bad")
        return None
    side = "good" if "good" in ratio else "bad"
    rule = _source(document, f"{path}.{side}", ratio[side], known)
    total = _source(document, f"{path}.total", ratio.get("total"), known, whole=True)
    if rule is None or total is None:
        return None
    if total and total != {"column": rule["column"]}:
        document.refuse(
            f"{path}.total",
            f"the total is every interaction that knows {rule['column']!r}; leave its spec empty, or name "
            "that column alone",
        )
        return None
    if side == "bad":
        return _Metric(rule, False)
    good = rule.get("equals", True)
    if not isinstance(good, bool) or set(rule) - {"column", "equals"}:
        document.refuse(
            f"{path}.good",
            "a good metric is a flag: {column} or {column, equals: true|false}; give a number's limit as "
            "bad, or as thresholdMetric",
        )
        return None
    return _Metric({"column": rule["column"], "equals": not good}, False)


def _source(
    document: _Document, path: str, value: Any, known: _Known, *, whole: bool = False
) -> dict[str, Any] | None:
    """The spec of a metric source of this project; whole: it may be empty."""
    metric = document.mapping(path, value)
    if not metric:
        return None
    document.only(path, metric, ("metricSource",))
    path = f"{path}.metricSource"
    source = document.mapping(path, metric.get("metricSource"))
    if not source:
        return None
    document.only(path, source, ("metricSourceRef", "type", "spec"))
    kind = source.get("type")
    named = source.get("metricSourceRef")
    if kind is None and named is not None:
        if named not in known.sources:
            document.refuse(
                f"{path}.metricSourceRef", f"no DataSource is called {named!r} in this file"
            )
            return None
        kind = known.sources[named]
    if kind != SOURCE:
        document.refuse(
            f"{path}.type",
            f"found {kind!r}; expected {SOURCE}: a review counts its own telemetry, and asks no other system",
        )
        return None
    spec = source.get("spec", {} if whole else None)
    if whole and spec == {}:
        return {}
    found = dict(document.mapping(f"{path}.spec", spec))
    document.only(f"{path}.spec", found, ("column", *_LIMITS))
    if not isinstance(found.get("column"), str):
        document.refuse(f"{path}.spec.column", "expected the name of a column of the interactions")
        return None
    return {key: v for key, v in found.items() if key in ("column", *_LIMITS)}


def _bad(
    document: _Document, path: str, objective: Mapping[str, Any], metric: _Metric
) -> dict[str, Any] | None:
    op, value = objective.get("op"), objective.get("value")
    if not metric.threshold:
        if "op" in objective or "value" in objective:
            document.refuse(path, "op and value go with a thresholdMetric")
            return None
        return metric.rule
    limited = len(metric.rule) > 1
    if limited and ("op" in objective or "value" in objective):
        document.refuse(path, "the metric's spec has a limit already; leave op and value out")
        return None
    if limited:
        return metric.rule
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if op not in GOOD_WHEN or not number:
        document.refuse(
            path,
            f"a thresholdMetric needs op (one of {', '.join(GOOD_WHEN)}; found {op!r}) and value (a "
            f"number; found {value!r})",
        )
        return None
    return {**metric.rule, GOOD_WHEN[str(op)]: value}


def _target(document: _Document, path: str, objective: Mapping[str, Any]) -> float | None:
    if ("target" in objective) == ("targetPercent" in objective):
        document.refuse(path, "give exactly one of: target, targetPercent")
        return None
    key = "target" if "target" in objective else "targetPercent"
    value, top = objective[key], 1 if key == "target" else 100
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < top:
        document.refuse(
            f"{path}.{key}", f"found {value!r}; expected a number above 0 and below {top}"
        )
        return None
    return float(Decimal(str(value)) / top)  # 99.95 / 100 in floats is not 0.9995


def _period(document: _Document, windows: Any) -> dict[str, Any] | None:
    """period and period_days; {} for the defaults of a policy, None where it is refused."""
    if windows is None:
        return {}
    path = "spec.timeWindow"
    if not isinstance(windows, list) or len(windows) != 1:
        document.refuse(path, "expected a list of exactly one time window")
        return None
    path = f"{path}[0]"
    window = document.mapping(path, windows[0])
    if not window:
        return None
    document.only(path, window, ("duration", "isRolling", "calendar"))
    rolling, calendar = window.get("isRolling", "calendar" not in window), window.get("calendar")
    duration = window.get("duration")
    if not isinstance(rolling, bool) or rolling == (calendar is not None):
        document.refuse(path, "give isRolling: true, or calendar")
        return None
    if rolling:
        found = re.fullmatch(r"([1-9][0-9]{0,3})([dw])", str(duration))
        if not found:
            document.refuse(
                f"{path}.duration",
                f"found {duration!r}; expected whole days or weeks, such as 30d or 4w",
            )
            return None
        return {"period_days": int(found[1]) * (7 if found[2] == "w" else 1)}
    return _calendar(document, path, duration, calendar)


def _calendar(
    document: _Document, path: str, duration: Any, calendar: Any
) -> dict[str, Any] | None:
    held = document.mapping(f"{path}.calendar", calendar)
    document.only(f"{path}.calendar", held, ("startTime", "timeZone"))
    sound = True
    if duration not in PERIODS:
        document.refuse(
            f"{path}.duration",
            f"found {duration!r}; expected 1M or 1Q, the calendar's month or quarter",
        )
        sound = False
    zone = held.get("timeZone")
    if zone not in _UTC:
        document.refuse(
            f"{path}.calendar.timeZone", f"found {zone!r}; expected Etc/UTC: days here are UTC"
        )
        sound = False
    start = held.get("startTime")
    text = start[DATE] if isinstance(start, dict) and set(start) == {DATE} else start
    aligned = re.fullmatch(r"\d{4}-(\d{2})-01([ T]00:00(:00)?)?", str(text))
    months = _FIRST_MONTHS.get(str(duration), range(1, 13))
    if not aligned or int(aligned[1]) not in months:
        document.refuse(
            f"{path}.calendar.startTime",
            f"found {text!r}; expected midnight of the first day of a "
            f"{PERIODS.get(str(duration), 'month')}, such as 2026-01-01 00:00:00",
        )
        sound = False
    return {"period": PERIODS[str(duration)]} if sound else None
