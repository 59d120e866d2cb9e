"""Policies registered beforehand: one line each, added once, and what a review says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analysis import policy as policies
from analysis import registration
from analysis import review as reviews
from analysis.__main__ import main
from analysis.errors import PolicyError, UsageError
from analysis.policy import LoadedPolicy
from analysis.registration import Registered, check, read, register, registration_of

END = datetime(2026, 11, 16, tzinfo=UTC)
BEFORE = END - timedelta(days=20)


def loaded(folder: Path, text: str = "release: {id: r1}\n") -> LoadedPolicy:
    path = folder / "policy.yml"
    path.write_text(text)
    return policies.load(path)


def test_a_registration_is_one_line_that_is_read_again(tmp_path: Path) -> None:
    policy, place = loaded(tmp_path), tmp_path / "data" / "registrations.jsonl"
    found, new = register(policy, place, BEFORE)
    assert new
    assert read(place) == (found,)
    assert found == Registered("r1", policy.sha256, "2026-10-27T00:00:00Z")


def test_the_same_policy_again_keeps_its_first_time(tmp_path: Path) -> None:
    policy, place = loaded(tmp_path), tmp_path / "r.jsonl"
    first, _ = register(policy, place, BEFORE)
    again, new = register(policy, place, END)
    assert (again, new) == (first, False)
    assert len(place.read_text().splitlines()) == 1


def test_a_changed_policy_is_another_line(tmp_path: Path) -> None:
    place = tmp_path / "r.jsonl"
    register(loaded(tmp_path), place, BEFORE)
    register(loaded(tmp_path, "release: {id: r1}\ncluster: user\n"), place, BEFORE)
    assert len(read(place)) == 2


def test_hostile_ids_stay_in_their_line(tmp_path: Path) -> None:
    place = tmp_path / "r.jsonl"
    policy = policies.load(loaded(tmp_path).path, release_id='a\u2028", "x": "\u202eb')
    found, _ = register(policy, place, BEFORE)
    assert read(place) == (found,)
    assert place.read_bytes().isascii()


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", "{}", '{"release": "r1"}',
     '{"release": "r1", "policy_sha256": "abc", "registered_utc": "2026-10-27T00:00:00Z"}',
     json.dumps({"release": 1, "policy_sha256": "0" * 64, "registered_utc": "2026-10-27T00:00:00Z"}),
     json.dumps({"release": "r", "policy_sha256": "0" * 64, "registered_utc": "yesterday"})],
)  # fmt: skip
def test_a_file_that_somebody_broke_is_refused_with_its_lines(tmp_path: Path, line: str) -> None:
    place = tmp_path / "r.jsonl"
    register(loaded(tmp_path), place, BEFORE)
    place.write_text(place.read_text() + line + "\n" + line + "\n")
    with pytest.raises(PolicyError, match=r"line 2: (.|\n)*line 3: "):
        read(place)


def test_a_line_that_a_kill_cut_off_is_none_and_the_next_one_stands_alone(tmp_path: Path) -> None:
    place = tmp_path / "r.jsonl"
    register(loaded(tmp_path), place, BEFORE)
    whole = place.read_bytes()
    for length in range(1, len(whole)):
        place.write_bytes(whole + whole[:length])
        assert len(read(place)) == 1
    other = loaded(tmp_path, "release: {id: r2}\n")
    for length in (1, 20, len(whole) - 1):
        place.write_bytes(whole + whole[:length])
        register(other, place, BEFORE)
        assert [r.release for r in read(place)] == ["r1", "r2"]


def test_a_line_that_cannot_be_written_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    place = tmp_path / "r.jsonl"
    register(loaded(tmp_path), place, BEFORE)
    before = place.read_bytes()
    monkeypatch.setattr("analysis.registration.os.fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        register(loaded(tmp_path, "release: {id: r2}\n"), place, BEFORE)
    assert place.read_bytes() == before


def test_writers_at_once_lose_no_line(tmp_path: Path) -> None:
    place = tmp_path / "r.jsonl"
    started = []
    for k in range(6):
        path = tmp_path / f"p{k}.yml"
        path.write_text(f"release: {{id: r{k}}}\n")
        line = [sys.executable, "-m", "analysis", "register", "--policy", path, "--file", place]
        started.append(subprocess.Popen([str(p) for p in line], stdout=subprocess.DEVNULL))
    assert [process.wait(60) for process in started] == [0] * 6
    assert {r.release for r in read(place)} == {f"r{k}" for k in range(6)}


class TestSaid:
    def lines(self, policy: LoadedPolicy, *others: tuple[str, datetime]) -> list[Registered]:
        return [
            Registered("r1", policy.sha256 if which == "own" else which * 64, t.strftime(registration._TIME))
            for which, t in others
        ]  # fmt: skip

    def test_registered_before_the_end(self, tmp_path: Path) -> None:
        policy = loaded(tmp_path)
        found = registration_of(policy, self.lines(policy, ("own", BEFORE)), END)
        told = check(found, "optional")
        assert found is not None
        assert told is not None
        assert (found.before_end, told.outcome, told.severity) == (True, "pass", "note")

    def test_registered_too_late(self, tmp_path: Path) -> None:
        policy = loaded(tmp_path)
        found = registration_of(policy, self.lines(policy, ("own", END)), END)
        told = check(found, "required")
        assert told is not None
        assert (told.outcome, told.severity) == ("fail", "hold")
        assert "after the candidate window's end" in told.sentence

    def test_another_policy_was_registered(self, tmp_path: Path) -> None:
        policy = loaded(tmp_path)
        found = registration_of(policy, self.lines(policy, ("a", BEFORE)), END)
        told = check(found, "optional")
        assert found is not None
        assert told is not None
        assert (found.registered_utc, found.other_versions, told.outcome) == (None, 1, "fail")

    def test_several_versions_are_told(self, tmp_path: Path) -> None:
        policy = loaded(tmp_path)
        lines = self.lines(policy, ("a", BEFORE), ("own", BEFORE), ("b", BEFORE), ("c", END))
        told = check(registration_of(policy, lines, END), "optional")
        assert told is not None
        assert told.outcome == "pass"
        assert "2 other versions were too" in told.sentence

    def test_none_and_none_asked_for(self, tmp_path: Path) -> None:
        policy = loaded(tmp_path)
        others = [Registered("another", policy.sha256, "2026-10-01T00:00:00Z")]
        assert registration_of(policy, others, END) is None
        assert check(None, "optional") is None
        told = check(None, "required")
        assert told is not None
        assert (told.outcome, told.severity) == ("fail", "hold")


def test_a_review_says_whether_its_policy_was_registered(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report").mkdir()
    policy = tmp_path / "report" / "policy.yml"
    policy.write_text("release: {id: r1}\ngate: {registration: required}\n")
    wanted = lambda: reviews.request(data=str(tiny_data), project=tmp_path)  # noqa: E731
    before = reviews.compute(wanted())
    assert before.body["policy"]["registration"] is None
    assert "gate.registration" in before.body["decision"]["holding"]
    file = tmp_path / registration.FILE
    assert main(["register", "--policy", str(policy), "--file", str(file)]) == 0
    assert capsys.readouterr().out.startswith("registered: release r1, policy ")
    keyed = reviews.cache_key(wanted())
    # The time of the sample lies before the test's: written down afterwards, and so too late.
    late = reviews.compute(wanted())
    assert late.body["policy"]["registration"]["before_end"] is False
    line = json.loads(file.read_text())
    file.write_text(json.dumps({**line, "registered_utc": "2020-01-01T00:00:00Z"}) + "\n")
    assert reviews.cache_key(wanted()) != keyed
    after = reviews.compute(wanted())
    assert after.body["policy"]["registration"]["before_end"] is True
    assert "gate.registration" not in after.body["decision"]["holding"]
