"""A tab of a real browser that a test works in: keys pressed, values read, files downloaded, pages printed.

Chromium speaks its DevTools protocol over a pipe: no port is opened.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.end_to_end.browser import OPTIONS

_KEPT = [o for o in OPTIONS if not o.startswith(("--virtual-time", "--timeout", "--dump-dom"))]
_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
_PATIENCE = 60.0


class Tab:
    """One page; what it asks of the network is in `asked`."""

    def __init__(self, to: int, back: int, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self._to, self._back, self._buffer, self._next = to, back, b"", 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Network.enable")

    def open(self, address: str, **shape: Any) -> None:
        """Opens a page, and waits until its scripts have run. shape: width and height of the window."""
        if shape:
            self._call(
                "Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, mobile=False, **shape
            )
        self._call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON does."""
        given = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in given:
            raise AssertionError(f"{expression}: {given['exceptionDetails']}")
        return given["result"].get("value")

    def until(self, expression: str) -> None:
        end = time.monotonic() + _PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"never came true: {expression}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        text = "\r" if key == "Enter" else " " if key == " " else ""
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=_CODES[key],
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    def write(self, text: str) -> None:
        """Text into what has the focus."""
        self._call("Input.insertText", text=text)

    def downloaded(self, expression: str, name: str) -> bytes:
        """The file that evaluating `expression` downloads."""
        self._session, session = "", self._session
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.folder))
        self._session = session
        self._call("Runtime.evaluate", expression=expression, userGesture=True)
        end, file = time.monotonic() + _PATIENCE, self.folder / name
        while not file.is_file():
            assert time.monotonic() < end, f"{name} never came: {os.listdir(self.folder)}"
            time.sleep(0.05)
        return file.read_bytes()

    def printed(self) -> bytes:
        """The page as PDF, as it would be printed now."""
        return base64.b64decode(self._call("Page.printToPDF")["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        message = {"id": self._next, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                read = os.read(self._back, 1 << 16)
                if not read:
                    raise AssertionError(f"the browser ended during {method}")
                self._buffer += read
            line, _, self._buffer = self._buffer.partition(b"\0")
            held = json.loads(line)
            if held.get("method") == "Network.requestWillBeSent":
                self.asked.append(held["params"]["request"]["url"])
            if held.get("id") == self._next:
                if "error" in held:
                    raise AssertionError(f"{method}: {held['error']}")
                return dict(held["result"])


@contextmanager
def tab(program: str, folder: Path) -> Iterator[Tab]:
    """A tab in a new profile in `folder`, where downloads go too; the browser ends with the block."""
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    shell = f'exec "$@" 3<&{to_read} 4>&{back_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, "-", program, *_KEPT, f"--user-data-dir={folder / 'profile'}",
         "--remote-debugging-pipe"],
        pass_fds=(to_read, back_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(back_write)
    try:
        yield Tab(to_write, back_read, folder)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(back_read)
