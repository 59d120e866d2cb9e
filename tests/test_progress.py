"""The status line: late, on a terminal alone, and never more than text."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from analysis.progress import Messages, Progress, Status, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(patience_s: float, seconds: float, *texts: str) -> str:
    terminal = Terminal()
    with Status(terminal, patience_s) as told:
        told.expect(len(texts))
        for text in texts:
            told.step(text)
        time.sleep(seconds)
    return terminal.getvalue()


@pytest.fixture(autouse=True)
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("CI", "TTY_COMPATIBLE", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_a_short_command_shows_nothing() -> None:
    assert drawn(5.0, 0.0, "reading") == ""


def test_a_long_one_shows_phase_step_and_time_and_takes_them_away() -> None:
    shown = drawn(0.05, 0.6, "reading", "validating")
    assert "step 2 of 2: validating" in shown
    assert "0 s, " in shown
    assert shown.endswith("\x1b[2K")
    assert "\x1b[?25l" not in shown  # a killed process could not bring the cursor back


def test_brackets_and_control_characters_are_text() -> None:
    shown = drawn(0.05, 0.4, "[red]a[/red] :smile: \x1b[31m\n\u202e")
    assert "[red]a[/red] :smile: \ufffd[31m\ufffd\ufffd" in shown


def test_the_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    shown = drawn(0.05, 0.4, "x" * 500)
    assert "0 s, step 1 of 1: xxxxxxxxxxxx" in shown
    assert "x" * 13 not in shown
    assert shown.count("\n") == 1  # as the line goes


def test_the_line_says_what_the_phase_is_at_until_the_next() -> None:
    told = Status(Terminal())
    told.expect(3)
    assert told.line(0.4) == "0 s"
    told.step("rendering")
    told.detail("page 1 of 9")
    assert told.line(61.7) == "62 s, step 1 of 3: rendering: page 1 of 9"
    told.step("checking")
    assert told.line(62) == "62 s, step 2 of 3: checking"


def test_a_message_stays_with_and_without_the_line() -> None:
    terminal = Terminal()
    with Status(terminal, 0.05) as told:
        told.note("before [1]")
        told.step("reading")
        time.sleep(0.3)
        told.note("during [2]")
    assert "before [1]\n" in terminal.getvalue()
    assert "during [2]\n" in terminal.getvalue()


@pytest.mark.parametrize(
    ("environment", "quiet", "kind"),
    [
        ({}, False, Status),
        ({}, True, Progress),
        ({"TERM": "dumb"}, False, Messages),
        ({"TERM": ""}, False, Messages),
        ({"CI": "true"}, False, Messages),
    ],
)
def test_the_line_is_for_a_terminal_that_can_take_it_back(
    environment: dict[str, str], quiet: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(progress(quiet=quiet)) is kind
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(progress(quiet=False)) is Messages


def test_messages_are_plain_lines() -> None:
    stream = io.StringIO()
    with Messages(stream) as told:
        told.step("reading")
        told.note("known: [x]\x1b")
    assert stream.getvalue() == "known: [x]\ufffd\n"


SLOW = """
import sys, time
from analysis.progress import progress
with progress(quiet="--quiet" in sys.argv) as told:
    told.step("reading")
    time.sleep(float(sys.argv[1]))
print("rich" in sys.modules)
"""


@pytest.mark.parametrize(
    ("terminal", "arguments", "imported"),
    [(True, ["2.6"], True), (True, ["0.1"], False), (True, ["2.6", "--quiet"], False), (False, ["2.6"], False)],
)  # fmt: skip
def test_rich_is_imported_by_those_alone_who_wait_at_a_terminal(
    terminal: bool, arguments: list[str], imported: bool
) -> None:
    main, side = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", SLOW, *arguments],
            stdout=subprocess.PIPE,
            stderr=side if terminal else subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
            check=True,
            timeout=60,
        )
    finally:
        os.close(side)
        os.close(main)
    assert done.stdout == f"{imported}\n"
    if not terminal:
        assert done.stderr == ""
