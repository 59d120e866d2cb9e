"""What changed between two artifacts: decision, policy, checks, figures, findings, windows, inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from analysis.difference_noise import FigureChange, figure_changes, why_not_independent

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the two artifacts."""

    release: str
    title: str
    outcome: str
    headline: str
    digest: str
    evidence_digest: str


@dataclass(frozen=True)
class CheckChange:
    """A check that turned, is new or gone. decides: it blocks or holds in one of the two artifacts.
    figure: what is known of the change of the figure that it is on, where that is a headline figure."""

    id: str
    before: str | None
    after: str | None
    severity_before: str | None
    severity_after: str | None
    decides: bool
    sentence: str
    figure: FigureChange | None


@dataclass(frozen=True)
class SettingChange:
    """A setting of the policy. known: of the side that has no such key, None stands for the value."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class HotspotChange:
    """A finding of either artifact: before and after are its effects, None where it is not found."""

    slice: Mapping[str, str | None]
    metric: str
    kind: str
    state: Literal["new", "gone", "common"]
    before: float | None
    after: float | None


@dataclass(frozen=True)
class WordChange:
    """A drift severity or a routing recommendation that moved; None where one side has none."""

    name: str
    before: str | None
    after: str | None
    reason: str | None = None


@dataclass(frozen=True)
class WindowChange:
    name: Literal["baseline", "candidate"]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True)
class InputChange:
    """An input file by its SHA-256; None where one side has not read it."""

    file: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Comparison:
    """Two artifacts, what is most important first. dependent: why no figure is judged, where none is."""

    before: Side
    after: Side
    same_evidence: bool
    checks: tuple[CheckChange, ...]
    settings: tuple[SettingChange, ...]
    figures: tuple[FigureChange, ...]
    dependent: str | None
    hotspots: tuple[HotspotChange, ...]
    drift: tuple[WordChange, ...]
    routing: tuple[WordChange, ...]
    windows: tuple[WindowChange, ...]
    inputs: tuple[InputChange, ...]

    @property
    def deciding(self) -> tuple[CheckChange, ...]:
        """The checks that turned and carry one of the two decisions."""
        return tuple(check for check in self.checks if check.decides)


def compare(before: Body, after: Body) -> Comparison:
    """What changed from one artifact to the other; both with every key of the current revision."""
    figures = figure_changes(before, after)
    return Comparison(
        before=_side(before),
        after=_side(after),
        same_evidence=before["evidence_digest"] == after["evidence_digest"],
        checks=_checks(before, after, {figure.check: figure for figure in figures}),
        settings=_settings(before["policy"]["settings"], after["policy"]["settings"]),
        figures=figures,
        dependent=why_not_independent(before, after),
        hotspots=_hotspots(before["views"]["hotspots"], after["views"]["hotspots"]),
        drift=_words(
            {f["feature"]: (f["severity"], None) for f in before["views"]["drift"]["features"]},
            {f["feature"]: (f["severity"], None) for f in after["views"]["drift"]["features"]},
        ),
        routing=_words(
            {c["name"]: (c["recommendation"], c["reason"]) for c in _candidates(before)},
            {c["name"]: (c["recommendation"], c["reason"]) for c in _candidates(after)},
        ),
        windows=_windows(before["windows"], after["windows"]),
        inputs=_inputs(before, after),
    )


def _side(body: Body) -> Side:
    release, decision = body["release"], body["decision"]
    return Side(
        release["id"],
        release["title"],
        decision["outcome"],
        decision["headline"],
        body["digest"],
        body["evidence_digest"],
    )


def _candidates(body: Body) -> Any:
    return body["views"]["routing"]["candidates"]


def _both(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[Any]:
    """The keys of both, in the order of the second, then of the first."""
    return [*after, *(key for key in before if key not in after)]


def _checks(
    before: Body, after: Body, figures: Mapping[str, FigureChange]
) -> tuple[CheckChange, ...]:
    old, new = ({c["id"]: c for c in body["checks"]} for body in (before, after))
    carrying = {
        name
        for body in (before, after)
        for name in (*body["decision"]["blocking"], *body["decision"]["holding"])
    }
    found = []
    for name in _both(old, new):
        one, other = old.get(name, {}), new.get(name, {})
        decides = name in carrying
        turned = one.get("outcome") != other.get("outcome")
        weighs_otherwise = one.get("severity") != other.get("severity") and decides
        if turned or weighs_otherwise:
            found.append(
                CheckChange(
                    name,
                    one.get("outcome"),
                    other.get("outcome"),
                    one.get("severity"),
                    other.get("severity"),
                    decides,
                    (other or one)["sentence"],
                    figures.get(name),
                )
            )
    return tuple(sorted(found, key=lambda c: not c.decides))


_ABSENT = object()


def _settings(before: Any, after: Any) -> tuple[SettingChange, ...]:
    """Each setting that differs, by its path; where the data lies is told with the inputs."""
    return tuple(
        SettingChange(path, _shown(one), _shown(other))
        for path, one, other in _settings_between(before, after, "")
        if path != "data" and not path.startswith("release.")
    )


def _settings_between(one: Any, other: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            change
            for key in sorted({*one, *other})
            for change in _settings_between(
                one.get(key, _ABSENT), other.get(key, _ABSENT), f"{path}.{key}" if path else key
            )
        ]
    if isinstance(one, list) and isinstance(other, list):
        ours, theirs = _by_name(one), _by_name(other)
        if ours is not None and theirs is not None:
            return [
                change
                for key in _both(ours, theirs)
                for change in _settings_between(
                    ours.get(key, _ABSENT), theirs.get(key, _ABSENT), f"{path}[{key}]"
                )
            ]
    return [] if one == other else [(path, one, other)]


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    """The items by their names; None where a name is missing or stands twice."""
    named = {
        one["name"]: one
        for one in items
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    }
    return named if len(named) == len(items) else None


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value


def _hotspots(before: Body, after: Body) -> tuple[HotspotChange, ...]:
    old, new = (
        {(tuple(sorted(f["slice"].items())), f["metric"], f["kind"]): f for f in held["found"]}
        for held in (before, after)
    )
    changes = []
    for key in _both(old, new):
        one, other = old.get(key), new.get(key)
        found = other or one
        assert found is not None
        state: Literal["new", "gone", "common"] = (
            "new" if one is None else "gone" if other is None else "common"
        )
        effects = (None if f is None else f["effect"] for f in (one, other))
        changes.append(
            HotspotChange(found["slice"], found["metric"], found["kind"], state, *effects)
        )
    order = ("new", "gone", "common")
    return tuple(sorted(changes, key=lambda c: order.index(c.state)))


def _words(
    before: Mapping[str, tuple[str, str | None]], after: Mapping[str, tuple[str, str | None]]
) -> tuple[WordChange, ...]:
    nothing = (None, None)
    return tuple(
        WordChange(name, before.get(name, nothing)[0], *after.get(name, nothing))
        for name in _both(before, after)
        if before.get(name, nothing)[0] != after.get(name, nothing)[0]
    )


def _windows(before: Body, after: Body) -> tuple[WindowChange, ...]:
    names: tuple[Literal["candidate", "baseline"], ...] = ("candidate", "baseline")
    return tuple(
        WindowChange(name, before[name], after[name])
        for name in names
        if before[name] != after[name]
    )


def _inputs(before: Body, after: Body) -> tuple[InputChange, ...]:
    old, new = ({i["file"]: i["sha256"] for i in body["inputs"]} for body in (before, after))
    return tuple(
        InputChange(file, old.get(file), new.get(file))
        for file in _both(old, new)
        if old.get(file) != new.get(file)
    )
