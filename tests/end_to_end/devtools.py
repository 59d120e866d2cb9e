"""A real browser that is driven step by step: sizes, schemes, keys, and what a page answers.

Chromium's DevTools protocol over two pipes: messages are JSON, each ended by a NUL. Nothing listens on
a port, and no host can be reached.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.browser import OPTIONS

_ONE_PAGE = ("--virtual-time-budget", "--timeout", "--dump-dom", "--host-resolver-rules")
_SECONDS = 60.0
_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowRight": 39}


@dataclass
class Tab:
    """One tab. Addresses are of files; a page is at rest when its load event and scripts are done."""

    process: subprocess.Popen[bytes]
    to_browser: int
    from_browser: int
    session: str | None = None
    _read: bytes = b""
    _sent: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The addresses of what pages asked the network for."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to one command; raises AssertionError where it refuses it."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to_browser, data) :]
        while True:
            got = self._next()
            if got.get("id") == self._sent:
                assert "error" not in got, f"{method}: {got.get('error')}"
                return dict(got["result"])
            self._events.append(got)

    def wait(self, event: str) -> dict[str, Any]:
        """The next event of this name, or one that came while a command was answered."""
        while True:
            for at, got in enumerate(self._events):
                if got.get("method") == event:
                    del self._events[: at + 1]
                    return dict(got["params"])
            self._events.append(self._next())

    def open(self, address: str) -> None:
        """Opens a page and waits until it is loaded and at rest."""
        self._events.clear()
        self.call("Page.navigate", url=address)
        self.wait("Page.loadEventFired")
        # The scheme is applied by a script, 50 ms after the rest.
        self.run("new Promise(done => setTimeout(() => requestAnimationFrame(() => done(1)), 120))")

    def run(self, script: str) -> Any:
        """The value of a script's last expression, as JSON has it; a promise is waited for."""
        got = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, json.dumps(got["exceptionDetails"])[:2000]
        return got["result"].get("value")

    def look(self, width: int, height: int, dark: bool) -> None:
        """The screen in CSS pixels, and the scheme that the reader's system prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def until(self, script: str) -> None:
        """Waits until a script's last expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.run(script):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key is pressed and let go."""
        code = {"key": key, "code": key.replace(" ", "Space")}
        same = {**code, "windowsVirtualKeyCode": _CODES[key]}
        typed = {"Enter": "\r", " ": " "}.get(key)
        text = {} if typed is None else {"text": typed}
        self.call("Input.dispatchKeyEvent", type="keyDown", **same, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def write(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def downloaded(self, script: str, name: str, folder: Path) -> bytes:
        """The file that a script downloads, as if a person had asked for it."""
        # Of the browser, not of the tab.
        session, self.session = self.session, None
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.session = session
        self.call("Runtime.evaluate", expression=script, userGesture=True)
        end, file = time.monotonic() + _SECONDS, folder / name
        while not file.is_file():
            assert time.monotonic() < end, f"{name} never came: {os.listdir(folder)}"
            time.sleep(0.05)
        return file.read_bytes()

    def printed(self) -> bytes:
        """The page as PDF, as it would be printed now."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])

    def picture(self) -> bytes:
        """What is on the screen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self) -> dict[str, Any]:
        """The next message; raises AssertionError when the browser is silent for a minute."""
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._read:
            ready, _, _ = select.select([self.from_browser], [], [], until - time.monotonic())
            data = os.read(self.from_browser, 1 << 20) if ready else b""
            assert data, f"the browser {'ended' if ready else 'is silent'}"
            self._read += data
        message, self._read = self._read.split(b"\0", 1)
        got = dict(json.loads(message))
        if got.get("method") == "Network.requestWillBeSent":
            self.asked.append(got["params"]["request"]["url"])
        return got


@contextmanager
def tab(browser: str, folder: Path) -> Iterator[Tab]:
    """A tab of a new browser, whose profile is in `folder`; both end with the block."""
    options = [o for o in OPTIONS if not o.startswith(_ONE_PAGE)]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"]
    options += ["--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"]
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    process = subprocess.Popen(
        # The browser reads from descriptor 3 and writes to 4.
        ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", browser, *options],
        pass_fds=(commands, answers), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands)
    os.close(answers)
    opened = Tab(process, to_browser, from_browser)
    try:
        pages = opened.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in pages if one["type"] == "page")
        attached = opened.call("Target.attachToTarget", targetId=target, flatten=True)
        opened.session = attached["sessionId"]
        opened.call("Page.enable")
        opened.call("Network.enable")
        yield opened
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
