"""What a command tells while it works: a status line on a terminal, and messages.

The line shows the phase, its number, and the time since the start. It appears after two seconds and
goes in the end, on a terminal alone; messages go to stderr wherever that is. `--quiet` silences both.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

PATIENCE_S = 2.0


class Progress:
    """Tells nobody. Phases are announced by `step`, after `expect` said how many more there are."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the line away, before a result is shown."""

    def expect(self, n_steps: int) -> None:
        """So many more steps are ahead."""

    def step(self, text: str) -> None:
        """The next phase begins."""

    def detail(self, text: str) -> None:
        """What the phase is at."""

    def note(self, text: str) -> None:
        """A message that stays."""


SILENT = Progress()


class Messages(Progress):
    """Messages alone: stderr is a file, a pipe, or a terminal that cannot take back a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        print(_plain(text), file=self._stream)


class Status(Progress):
    """Messages and the line, drawn by rich in a thread of its own."""

    def __init__(self, stream: TextIO, patience_s: float = PATIENCE_S) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._n, self._of, self._phase, self._detail = 0, 0, "", ""
        self._live: Live | None = None
        self._over = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(patience_s, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Progress:
        self._timer.start()
        return self

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._live is not None:
                self._live.stop()
                self._live = None

    def expect(self, n_steps: int) -> None:
        self._of += n_steps

    def step(self, text: str) -> None:
        self._n, self._phase, self._detail = self._n + 1, text, ""

    def detail(self, text: str) -> None:
        self._detail = text

    def note(self, text: str) -> None:
        with self._lock:
            if self._live is None:
                print(_plain(text), file=self._stream)
            else:
                self._live.console.print(_as_text(text), soft_wrap=True)

    def __rich__(self) -> Text:
        return _as_text(self.line(time.monotonic() - self._start))

    def line(self, seconds: float) -> str:
        """The line after so many seconds."""
        parts = [f"{seconds:.0f} s"]
        if self._n:
            parts.append(f"step {self._n} of {max(self._n, self._of)}")
        parts += [part for part in (self._phase, self._detail) if part]
        return _plain(": ".join([", ".join(parts[:2]), *parts[2:]]))

    def _show(self) -> None:
        # rich takes a tenth of a second to import: only who waits pays for it.
        from rich.live import Live

        console = _console(self._stream)
        with self._lock:
            if self._over or not console.is_terminal or console.is_dumb_terminal:
                return
            self._live = Live(
                self,
                console=console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()


def progress(*, quiet: bool) -> Progress:
    """What fits stderr."""
    if quiet:
        return Progress()
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown") or bool(os.environ.get("CI"))
    return Messages(sys.stderr) if dumb or not sys.stderr.isatty() else Status(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    class Careful(Console):
        def show_cursor(self, show: bool = True) -> bool:
            """The cursor is never hidden: a killed process cannot bring it back."""
            return False

    return Careful(file=stream, markup=False, emoji=False, highlight=False)


def _as_text(text: str) -> Text:
    from rich.text import Text

    # A Text is shown as it is: [brackets] in a path are no markup.
    return Text(_plain(text), no_wrap=True, overflow="crop")


def _plain(text: str) -> str:
    """With nothing in it that a terminal obeys."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
