"""Ends a command soon after Ctrl-C or a polite kill: one line, and nothing left behind.

A signal raises `KeyboardInterrupt` where the main thread is; the engine looks for signals itself while
it works. Where the main thread does not come back in time, because of other code that is not Python,
a second thread removes what was being built and ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from analysis import leftovers

GRACE_S = 0.7
"""How long the main thread may take to come back."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
MESSAGE = "stopped; what was there before is untouched, and nothing is half written"


class _State:
    """Of this process: the signal that came, steps that must not be torn apart, the way out."""

    number: int | None = None
    undivided = 0
    leaving = threading.Event()


def install() -> None:
    """Takes the signals that ask a process to end, but those that whoever started it has ignored."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    _hook()
    threading.Thread(target=_watch, args=(read,), name="stopping", daemon=True).start()


def uninstall() -> None:
    """At the end of a command there is nothing more to save: signals have their usual effect."""
    for number in SIGNALS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)


def requested() -> bool:
    """Whether a signal came: whatever error follows, it is the reason."""
    return _State.number is not None


@contextmanager
def deferred() -> Iterator[None]:
    """Steps that belong together: a signal in between counts after them."""
    _State.undivided += 1
    try:
        yield
    finally:
        _State.undivided -= 1
    if requested():
        raise KeyboardInterrupt


def finish() -> int:
    """Removes what is half built, says so, and returns the exit code. Further signals change nothing."""
    _State.leaving.set()
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is _handle:
                signal.signal(number, signal.SIG_IGN)
    leftovers.remove_own()
    with suppress(OSError, ValueError):
        print(MESSAGE, file=sys.stderr, flush=True)
    return 128 + (_State.number or signal.SIGINT)


def _handle(number: int, _frame: FrameType | None) -> None:
    _State.number = _State.number or number
    if not _State.undivided:
        raise KeyboardInterrupt


def _watch(read: int) -> None:
    while True:
        number = os.read(read, 1)[0]
        if number in SIGNALS:
            break
    while not _State.leaving.wait(GRACE_S):
        if not _State.undivided:
            _State.number = _State.number or number
            os._exit(finish())


def _hook() -> None:
    """What a signal breaks in other threads and in finalizers is of no use to anybody.

    What it breaks before a command has begun, while its code is imported, ends as within one.
    """
    unraisable, of_threads, uncaught = sys.unraisablehook, threading.excepthook, sys.excepthook

    def end(*what: Any) -> None:
        if not requested():
            uncaught(*what)
            return
        os._exit(finish())

    sys.unraisablehook = lambda what: None if requested() else unraisable(what)
    threading.excepthook = lambda what: None if requested() else of_threads(what)
    sys.excepthook = end
