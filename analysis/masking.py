"""Names that stand for values of telemetry which must not be shown as themselves.

A dimension may hold what its name does not promise: addresses, paths, hosts, ids, whole sentences. In
share-safe mode such a value goes by another name, “value 7 of channel”, the same in every output. Values
that the policy itself names are no secret. What else in a text looks like an address or a path is taken
out where it stands.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.disclosure import Masked
from analysis.telemetry import Telemetry
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import clean

MAX_VALUES = 1_000
"""A column with more values holds identifiers or free text, whatever they look like."""
MAX_LENGTH = 60
MAX_WORDS = 6
_LISTED = 20_000
PLACEHOLDER = "(masked)"

_IDS = frozenset({"interaction_id", "session_id", "user_id", "trace_id"})
"""Shown by `analysis.share_safe` alone, hashed."""

_HOST_ENDS = (
    "com net org io gov edu mil int co ai dev app cloud local localdomain internal intranet lan corp home "
    "arpa eu de uk us fr ch at nl es it pl se no fi dk be cz ru cn jp in br au ca"
).replace(" ", "|")
ADDRESSES: Mapping[str, re.Pattern[str]] = {
    "email address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "URL": re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>”]+", re.I),
    "path": re.compile(
        r"(?<![\w/.:<&;])(?:~|/(?:home|Users|root|tmp|var|etc|opt|usr|mnt|srv|data|private|Volumes|workspace|work|builds?))"
        r"/[\w.@+-]+(?:/[\w.@+-]+)*|\b[A-Za-z]:\\[\w.@+-]+(?:\\[\w.@ +-]+)*|\\\\[\w.-]+\\[\w$.-]+"
    ),
    "IP address": re.compile(
        r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"
        r"|(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])",
        re.I,
    ),
    "host name": re.compile(
        rf"(?<![\w.@/-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_HOST_ENDS})(?![\w-]|\.\w)", re.I
    ),
}
"""What gives a person or a machine away, by kind."""
_LOOKS = (
    *ADDRESSES.values(),
    re.compile(r"^/\S+|^\S+(?:[/\\]\S+){2,}$"),
    re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-", re.I),
    re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{16,}\b", re.I),
    re.compile(r"\d{9,}"),
    re.compile(r"^(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_-]{24,}$"),
)
_QUOTED = re.compile(r"“([^”]*)”")
_SEPARATED = re.compile(r"( · |, |; | = |=| and | or |: )")


def is_sensitive(value: str) -> bool:
    """Whether a value looks like an address, a path, a host, an identifier or free text."""
    if len(value) > MAX_LENGTH or len(value.split()) > MAX_WORDS or "\n" in value:
        return True
    return any(pattern.search(value) for pattern in _LOOKS)


@dataclass(frozen=True)
class Names:
    """aliases: value → the name that stands for it. masked: how many of each column. kept: texts that stay
    whatever they look like. people: who is named in the policy, and by place “owner 1” from now on."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    masked: tuple[Masked, ...] = ()
    kept: frozenset[str] = frozenset()
    people: tuple[str, ...] = ()
    _sorted: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        secret: Mapping[str, Iterable[str]],
        kept: Iterable[str] = (),
        people: Iterable[str] = (),
    ) -> Names:
        """secret: column → its values that are not to be shown, in the order that numbers them."""
        aliases: dict[str, str] = {}
        masked = []
        for column, values in secret.items():
            held = list(values)
            for place, value in enumerate(held, start=1):
                name = f"value {place} of {column}"
                for form in {
                    value,
                    *(clean(value.replace("\n", "\\u000a"), n) for n in (None, 60)),
                }:
                    aliases.setdefault(form, name)
            if held:
                masked.append(Masked(column, len(held)))
        listed = tuple(dict.fromkeys(people))
        return cls(aliases, tuple(masked), frozenset(kept), listed, tuple(sorted(aliases)))

    def text(self, words: str) -> str:
        """A text in which no secret value, and nothing that looks like an address, stands."""
        if words in self.kept:
            return words
        if words in self.aliases:
            return self.aliases[words]
        for place, person in enumerate(self.people, start=1):
            words = words.replace(person, f"owner {place}")
        if self.aliases:
            words = _QUOTED.sub(lambda m: f"“{self._alias(m.group(1))}”", words)
            words = "".join(self._alias(part) for part in _SEPARATED.split(words))
        for pattern in ADDRESSES.values():
            words = pattern.sub(PLACEHOLDER, words)
        return words

    def _alias(self, shown: str) -> str:
        """The name for a value as a sentence shows it: whole, or cut with an ellipsis."""
        if shown in self.aliases:
            return self.aliases[shown]
        if shown.endswith("…") and len(shown) > 8:
            start = shown[:-1]
            place = bisect.bisect_left(self._sorted, start)
            if place < len(self._sorted) and self._sorted[place].startswith(start):
                return self.aliases[self._sorted[place]]
        return shown

    def tree(self, held: Any) -> Any:
        """JSON values with every text in them as it may be shown; keys stay."""
        if isinstance(held, str):
            return self.text(held)
        if isinstance(held, Mapping):
            return {key: self.tree(value) for key, value in held.items()}
        if isinstance(held, list | tuple):
            return [self.tree(value) for value in held]
        return held


def names_of(telemetry: Telemetry, settings: Mapping[str, Any], checks: Iterable[str]) -> Names:
    """The names for the secret values of all text columns that a view may show.

    settings: the policy's: what stands there is no secret, but who is. checks: ids, which stay.
    """
    named = set(texts_in(settings))
    secret = {}
    for column in telemetry.columns:
        if telemetry.types.get(column) != "VARCHAR" or column in _IDS:
            continue
        values = _values(telemetry, column)
        many = len(values) > MAX_VALUES
        held = [v for v in values if v not in named and (many or is_sensitive(v))]
        if held:
            secret[column] = held
    return Names.of(secret, (*checks, settings["release"]["id"]), _owners(settings))


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A policy's settings without the place of the data, addresses in what people wrote, and people."""
    names = Names.of({}, people=_owners(settings))

    def written(held: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        return {k: names.text(v) if k in keys and v else v for k, v in held.items()}

    gate, windows = settings["gate"], settings["windows"]
    return {
        **settings,
        "data": None,
        "release": written(settings["release"], "title"),
        "windows": {**windows, "exclude": [written(e, "reason") for e in windows["exclude"]]},
        "gate": {
            **gate,
            "waivers": [written(w, "owner", "reason") for w in gate["waivers"]],
            "owners": {name: names.text(who) for name, who in gate["owners"].items()},
        },
    }


def _owners(settings: Mapping[str, Any]) -> list[str]:
    gate = settings["gate"]
    return [
        *(str(waiver["owner"]) for waiver in gate["waivers"]),
        *(str(who) for who in gate["owners"].values()),
    ]


def _values(telemetry: Telemetry, column: str) -> list[str]:
    """The column's most frequent values, which are those that a view shows, sorted."""
    name = identifier(column)
    rows = telemetry.engine.rows(
        f"SELECT {name}, count(*) AS n FROM fact WHERE {name} IS NOT NULL GROUP BY {name} "
        f"ORDER BY n DESC, {name} LIMIT {_LISTED}"
    )
    return sorted(str(row[0]) for row in rows)


def texts_in(held: Any) -> Iterator[str]:
    """Every text in JSON values; keys are none."""
    if isinstance(held, str):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from texts_in(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from texts_in(value)
