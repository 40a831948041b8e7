"""A real browser, spoken to over two pipes (the DevTools protocol): opens a page, measures it, prints it.

Debian's chromium, or the binary that SPILLOVER_CHROMIUM names.
"""

import base64
import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Self

MISSING = (
    "no chromium: this test lays a report out in a real browser. "
    "Install it (apt-get install chromium poppler-utils), or set SPILLOVER_CHROMIUM to the path of one"
)
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """One browser with one page; `profile` is a folder of its own.

    Raises FileNotFoundError where there is no browser, RuntimeError where it ends or a command fails.
    """

    def __init__(self, profile: Path) -> None:
        binary = shutil.which(os.environ.get("SPILLOVER_CHROMIUM", "chromium"))
        if binary is None:
            raise FileNotFoundError(MISSING)
        hears, self._says = os.pipe()
        self._hears, says = os.pipe()
        quiet = os.open(profile / "stderr.txt", os.O_WRONLY | os.O_CREAT)
        moves = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in ((hears, 3), (says, 4), (quiet, 2))]
        command = [binary, *_FLAGS, f"--user-data-dir={profile / 'profile'}", "about:blank"]
        self._process = os.posix_spawn(binary, command, os.environ, file_actions=moves, setpgroup=0)
        for fd in (hears, says, quiet):
            os.close(fd)
        self._rest, self._numbers, self._session = b"", itertools.count(1), {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._says)
        os.close(self._hears)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | self._session
        os.write(self._says, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._hears, 1 << 16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def open(self, page: Path, *, width: int, height: int = 844) -> None:
        """Load a page in a window of that size in CSS pixels, and wait until its charts are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.run(_DRAWN)

    def picture(self, out: Path) -> Path:
        """A PNG of the whole page, for whoever wants to look."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(shot["data"]))
        return out

    def pdf(self, out: Path, *, height: float = 297) -> Path:
        """The page as it is printed on paper 210 mm wide and `height` mm high."""
        paper = self.call("Page.printToPDF", paperWidth=210 / 25.4, paperHeight=height / 25.4)
        out.write_bytes(base64.b64decode(paper["data"]))
        return out


_DRAWN = """
new Promise((done, fail) => {
  const began = Date.now();
  (function look() {
    const waits = [...document.querySelectorAll(".chart")].filter(chart => !chart.childNodes.length);
    if (document.readyState === "complete" && !waits.length) done();
    else if (Date.now() - began > 60000) fail(new Error(waits.length + " charts not drawn in a minute"));
    else setTimeout(look, 50);
  })();
})
"""
