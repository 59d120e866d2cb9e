"""The rules of a routing candidate as text for a router: plain YAML, or a fragment of LiteLLM's config.

LiteLLM's tag based routing knows neither an order of rules nor a condition on two columns. The rules
are therefore taken apart into cells: one combination of the values that they name. A cell is one tag,
and carries the weights of the rules that share it, so that of each cell LiteLLM draws what first
match and falling through give. As LiteLLM does it from 1.74.0 to 1.110.2 (the newest looked at), in
`router_strategy/tag_based_routing.py`: eligible are the deployments that have a tag of the request; a
tag that none has, or no tag, goes to those tagged `default`; and in `simple_shuffle.py`: among these
it draws by `weight`. Before 1.74.0 those tagged `default` were eligible for every tag.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from analysis.errors import UsageError
from analysis.yaml_text import comment, listed, quoted, scalar

MAX_CELLS = 2_000
"""Most combinations of values that become tags; more is no config that a person would read."""
TODAY = "openai/REPLACE-BY-TODAYS-MODEL"
"""Stands for what the artifact does not know; left as it is, it is no model that answers."""

_MODEL_COLUMNS = ({"model_name"}, {"model_provider", "model_name"})

Body = Mapping[str, Any]


# ── plain YAML ───────────────────────────────────────────────────────────────────────────


def as_yaml(candidate: Body, body: Body) -> str:
    """The candidate as an item of `routing.candidates` of a policy, under a comment that says whence.

    candidate: of `views.routing.candidates` in the artifact `body`. The limit that it was judged by
    goes with it. Raises UsageError where it has no rules.
    """
    lines = [
        *_head(candidate, body),
        *comment(
            "Goes under routing.candidates in policy.yml; the first rule that matches decides."
        ),
        f"- name: {scalar(candidate['name'])}",
    ]
    limit = _settings(candidate, body).get("max_failure_rate")
    if limit is not None:
        lines.append(f"  max_failure_rate: {scalar(limit)}")
    lines.append("  rules:")
    for rule in _rules(candidate):
        when = {k: listed(v) if isinstance(v, list | tuple) else scalar(v)
                for k, v in rule["when"].items()}  # fmt: skip
        lines.append(f"    - when: {_mapping(when)}")
        lines.append(f"      use: {_mapping({k: scalar(v) for k, v in rule['use'].items()})}")
        if _share(rule) != 1:
            lines.append(f"      share: {scalar(rule['share'])}")
    return "\n".join(lines)


def _mapping(values: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{scalar(k)}: {v}' for k, v in values.items())}}}"


def _head(candidate: Body, body: Body) -> list[str]:
    told, reason = candidate["recommendation"], candidate["reason"].rstrip(".")
    verdict = "adopt" if told == "adopt" else f"NOT ADOPTED ({told.replace('_', ' ')})"
    lines = comment(f"Routing candidate {quoted(candidate['name'])}: {verdict}: {reason}.")
    learned = _settings(candidate, body).get("learn")
    if learned is not None:
        lines += comment(f"Learned on the baseline window ({quoted(learned)}); the rules as found.")
    return [
        *lines,
        *comment(f"Release {quoted(body['release']['id'])}, evidence {body['evidence_digest']}."),
    ]


def _settings(candidate: Body, body: Body) -> Body:
    """What the policy says of the candidate; nothing where it does not name it."""
    named = body["policy"]["settings"].get("routing", {}).get("candidates", ())
    return next((c for c in named if c.get("name") == candidate["name"]), {})


def _rules(candidate: Body) -> Sequence[Body]:
    rules: Sequence[Body] = candidate["rules"]
    if not rules:
        raise UsageError(
            f"candidate {quoted(candidate['name'])} has no rules to export: {candidate['reason']}"
        )
    return rules


def _share(rule: Body) -> Fraction:
    given = rule.get("share")
    share = Fraction(1) if given is None else Fraction(repr(given))
    if not 0 < share <= 1:
        raise UsageError(f"a rule's share is {given}; expected above 0 and at most 1")
    return share


# ── LiteLLM ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Rule:
    """A rule in LiteLLM's terms: the values of each column as text, `provider/model`, its share."""

    when: Mapping[str, tuple[str, ...]]
    model: str
    share: Fraction

    def holds(self, cell: Mapping[str, str | None]) -> bool:
        return all(cell[column] in values for column, values in self.when.items())


_Weights = tuple[tuple[int | None, int], ...]
"""Who takes of a cell, and with which weight: the place of a rule, or None for today's choice."""


def as_litellm(candidate: Body, body: Body) -> str:
    """The candidate as a fragment of a LiteLLM proxy's `config.yaml`.

    A model group of the candidate's own name: nothing changes for requests that ask for another. Raises
    UsageError where it has no rules, or rules that LiteLLM cannot follow.
    """
    rules = [
        _Rule(
            {k: tuple(map(_text, v if isinstance(v, list | tuple) else (v,)))
             for k, v in rule["when"].items()},
            _model(rule["use"]),
            _share(rule),
        )
        for rule in _rules(candidate)
    ]  # fmt: skip
    values = _values(rules)
    tags = _tags(rules, values)
    deployments: dict[tuple[int | None, int], list[str]] = {}
    for tag, weights in tags.items():
        for taker in weights:
            deployments.setdefault(taker, []).append(tag)
    today = any(rule is None for rule, _ in deployments)
    lines = [
        *_head(candidate, body),
        "#",
        *_how(candidate["name"], values, today=today),
        "model_list:",
    ]
    for index, rule in enumerate(rules):
        mine = [(weight, held) for (i, weight), held in deployments.items() if i == index]
        lines += comment(_told(index, rule, taken=bool(mine)), 2)
        for n, (weight, held) in enumerate(mine):
            name = f"{candidate['name']}.rule-{index + 1}" + (f".{n + 1}" if n else "")
            lines += _deployment(candidate["name"], rule.model, held, weight, name)
    if today:
        lines += comment("What no rule takes: today's choice, to be filled in (see 2).", 2)
    left = [(weight, held) for (i, weight), held in deployments.items() if i is None]
    for n, (weight, held) in enumerate(left):
        name = f"{candidate['name']}.today" + (f".{n + 1}" if n else "")
        lines += _deployment(candidate["name"], TODAY, held, weight, name)
    return "\n".join([
        *lines,
        "router_settings:",
        "  routing_strategy: simple-shuffle",
        "  enable_tag_filtering: true",
        "  tag_filtering_match_any: true",
    ])  # fmt: skip


def _deployment(group: str, model: str, tags: Sequence[str], weight: int, name: str) -> list[str]:
    return [
        f"  - model_name: {scalar(group)}",
        "    litellm_params:",
        f"      model: {scalar(model)}",
        f"      tags: {listed(tags)}",
        f"      weight: {weight}",
        f"    model_info: {{id: {scalar(name)}}}",
    ]


def _model(use: Body) -> str:
    if set(use) not in _MODEL_COLUMNS:
        raise UsageError(
            f"LiteLLM cannot set {', '.join(map(quoted, sorted(use)))}: a deployment is a model_name, with "
            "or without a model_provider; export the plain rules (yaml) instead"
        )
    parts = [_text(use[c]) for c in ("model_provider", "model_name") if c in use]
    return _plain("/".join(parts))


def _plain(text: str) -> str:
    """Text that LiteLLM takes as it stands. Raises UsageError for what it would obey."""
    if text.startswith(("!", "&", "os.environ/")):
        raise UsageError(
            f"LiteLLM reads {quoted(text)} as a command, not as a name; export the plain rules (yaml) "
            "instead"
        )
    return text


def _text(value: str | bool | int | float) -> str:
    return value if isinstance(value, str) else scalar(value)


def _values(rules: Sequence[_Rule]) -> dict[str, tuple[str, ...]]:
    """The values that the rules name, by column; both in the order in which they are met."""
    found: dict[str, dict[str, None]] = {}
    for rule in rules:
        for column, values in rule.when.items():
            found.setdefault(column, {}).update(dict.fromkeys(values))
    return {column: tuple(values) for column, values in found.items()}


def _tags(rules: Sequence[_Rule], values: Mapping[str, Sequence[str]]) -> dict[str, _Weights]:
    """Who takes of each tag; a tag that is not here goes the way of `default`, as in LiteLLM."""
    n_cells = math.prod(len(v) + 1 for v in values.values())
    if n_cells > MAX_CELLS:
        raise UsageError(
            f"the rules tell {n_cells:,} combinations of values apart; at most {MAX_CELLS:,} become tags "
            "of LiteLLM: export the plain rules (yaml) instead"
        )
    rest = _weights(rules, dict.fromkeys(values))
    tags = {"default": rest}
    met: set[str] = set()
    for combination in itertools.product(*((*v, None) for v in values.values())):
        cell = dict(zip(values, combination, strict=True))
        tag = ";".join(f"{column}:{value}" for column, value in cell.items() if value is not None)
        if tag in met:
            raise UsageError(
                f"two combinations of values would both be the tag {quoted(tag)}; export the plain "
                "rules (yaml) instead"
            )
        met.add(tag)
        weights = _weights(rules, cell)
        if tag and weights != rest:
            tags[_plain(tag)] = weights
    return tags


def _weights(rules: Sequence[_Rule], cell: Mapping[str, str | None]) -> _Weights:
    """First match and falling through as smallest whole weights (LiteLLM types a weight as int)."""
    left, parts = Fraction(1), []
    for index, rule in enumerate(rules):
        if left and rule.holds(cell):
            parts.append((index, left * rule.share))
            left *= 1 - rule.share
    shares: list[tuple[int | None, Fraction]] = [*parts, *([(None, left)] if left else [])]
    scale = math.lcm(*(share.denominator for _, share in shares))
    whole = [int(share * scale) for _, share in shares]
    common = math.gcd(*whole)
    return tuple((who, n // common) for (who, _), n in zip(shares, whole, strict=True))


# ── what LiteLLM has to be told besides ──────────────────────────────────────────────────


def _how(name: str, values: Mapping[str, Sequence[str]], *, today: bool) -> list[str]:
    steps = [
        f"LiteLLM 1.74.0 or later. `{name}` is a new model_name: only requests that ask for it are "
        "routed by these rules, all others as today. Models stand here as provider/model of the "
        "telemetry: check that LiteLLM calls them so, and add what each needs (api_key, api_base).",
    ]
    if today:
        steps.append(
            f"{TODAY} stands for today's choice, which the artifact does not know. Put in today's "
            "deployment; where there are several, one copy of the entry for each, with an id of its own, "
            "and its weight divided among them (multiply all weights by the same number first). Left as "
            "it is, these requests fail, and LiteLLM, once it sets that entry aside, sends them to a rule's."
        )
        steps.append(
            "NOT EXPRESSED: today's choice as it is made request by request. Entries of fixed weights "
            "draw from its mixture. Where it depends on the request, let the caller send under today's "
            "model name what no rule takes, and draw itself what the shares leave over; the entries of "
            "today then go."
        )
    if values:
        steps.append(
            'Tags come from the caller. A request carries one tag of these rules ("tags": ["…"] in its '
            "body; not the header, which is split at commas): of the columns below, in this order, each "
            "pair column:value whose value is listed, joined by `;`. A value that is missing or not "
            "listed is left out, a number is written as here, and a request without a pair carries no tag."
        )
    steps += [
        "enable_tag_filtering is for the whole file: a request with tags then fails under every other "
        "model_name whose deployments have neither one of its tags nor `default`. Other tags do no harm "
        "here, as long as they are none of the tags below and tag_filtering_match_any stays true.",
        "NOT EXPRESSED: LiteLLM draws anew for each call and retry, and its retries, fallbacks and "
        "cooldowns may choose another deployment; the backtest knew none of them. Order of rules and "
        "shares are expressed by the tags and weights below, which hold together: change none alone.",
    ]
    lines = []
    for n, step in enumerate(steps, 1):
        lines += comment(f"{n}. {step}", hanging=3)
        if step.startswith("Tags come"):
            for column, named in values.items():
                lines += comment(f"   {quoted(column)}: {', '.join(map(quoted, named))}", hanging=5)
    return lines


def _told(index: int, rule: _Rule, *, taken: bool) -> str:
    conditions = " and ".join(
        f"{quoted(column)} is {' or '.join(map(quoted, values)) or 'nothing'}"
        for column, values in rule.when.items()
    )
    share = "" if rule.share == 1 else f", a share of {float(rule.share):g}"
    none = "" if taken else "; nothing is left for it"
    return f"Rule {index + 1}: {conditions or 'all traffic'}{share}{none}."
