"""Requests to a server of OpenAI's HTTP interface: JSON there, and JSON of bounded size back, or one line.

A server that is busy is asked again, after 1, 2, 4 and 8 seconds or as long as it says (`Retry-After`), one
that keeps silent once. A redirect is not followed, so that neither texts nor key reach another host than the
one that was named.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from spillover.errors import ModelError
from spillover.knowledge.faults import show

KEY = "SPILLOVER_API_KEY"
"""The environment variable with the key, which is sent to every endpoint that is asked, and is written
nowhere."""

MOST_BYTES = 1 << 25
"""An answer may have; one token with its log-probability takes some 100."""

_WAITS = (1.0, 2.0, 4.0, 8.0)
_LONGEST_WAIT = 60.0  # whatever the server says
_PATIENCE = 300.0  # seconds until an answer begins, and then until it ends; a batch on a CPU takes its time
_BUSY = (408, 429, 500, 502, 503, 504)
_LONGEST = 300  # characters of what a server says


class Refused(ModelError):
    """A request without an answer."""

    def __init__(
        self,
        url: str,
        said: str,
        fix: str,
        *,
        status: int = 0,
        wait: float | None = None,
        silent: bool = False,
    ) -> None:
        self.said = said
        """What befell it, without whose it was."""
        self.status = status
        """HTTP's; 0 where the server was not reached."""
        self.wait = wait
        """Seconds after which it may be answered, at least; None if the same request will never be."""
        self.silent = silent
        """Whether the server took the request, and no whole answer came in time."""
        super().__init__(f"endpoint {url} {said}{fix and f'; {fix}'}")


class Client:
    """One server, asked from any number of threads.

    Each request raises ModelError where there is no answer: `Refused` where the server says so. Once the
    client is closed none is waited for, whoever waits.
    """

    def __init__(self, url: str) -> None:
        import httpx2

        self.url = url
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.replace(" ", "").isprintable()):
            raise ModelError(f"{KEY} holds signs that a key cannot have; set it anew")
        self._closed = threading.Event()
        self._streams: list[Any] = []
        try:
            self._http = httpx2.Client(
                headers={"Accept-Encoding": "identity", "User-Agent": "spillover"}
                | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
                timeout=httpx2.Timeout(_PATIENCE, connect=10),
                follow_redirects=False,
            )
        except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
            raise ModelError(
                f"endpoint {url} cannot be asked by way of what the environment names "
                f"({self._harmless(str(error)) or type(error).__name__}); mend or unset HTTP_PROXY, "
                "HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE, SSL_CERT_DIR"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for stream in list(self._streams):
            _hang_up(stream)
        self._http.close()

    def get(self, path: str) -> Any:
        """What the server has there."""
        return self._once("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any], *, patient: bool = True) -> Any:
        """What it answers to this; who is not `patient` does not ask again."""
        silent = 0
        for wait in _WAITS if patient else ():
            try:
                return self._once("POST", path, body)
            except Refused as refused:
                silent += refused.silent
                if refused.wait is None or silent > 1:
                    raise
                if self._is_closed_within(min(max(wait, refused.wait), _LONGEST_WAIT)):
                    raise
        return self._once("POST", path, body)

    def _is_closed_within(self, seconds: float) -> bool:
        return self._closed.wait(seconds)

    def _trace(self, event: str, about: Mapping[str, Any]) -> None:
        """Remember the connections: closing the client alone would wake nobody who waits for a byte."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._streams.append(about["return_value"])
            if self._closed.is_set():
                _hang_up(about["return_value"])

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import httpx2

        try:
            with self._http.stream(
                method, f"{self.url}/{path}", json=body, extensions={"trace": self._trace}
            ) as response:
                text = self._read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            why = self._harmless(str(error)) or type(error).__name__
            said, fix = f"cannot be reached ({why})", "check the address, and that the server runs"
            wait = 0.0 if isinstance(error, httpx2.HTTPError) else None
            silent = isinstance(error, httpx2.ReadTimeout)
            raise Refused(self.url, said, fix, wait=wait, silent=silent) from error
        if response.is_redirect:
            where = show(self.without_key(response.headers.get("location", "nowhere")))
            raise ModelError(f"endpoint {self.url} answers that it is at {where}; give that address yourself")
        if not response.is_success:
            status, message = response.status_code, self._harmless(_message(text))
            said = f"answers with error {status}{message and f' ({message})'}"
            wait = _seconds(response.headers.get("retry-after")) if status in _BUSY else None
            raise Refused(self.url, said, self._fix(status), status=status, wait=wait)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"endpoint {self.url} answers with what is no JSON ({show(self.without_key(text)[:80])}); "
                "is it a server of OpenAI's HTTP interface?"
            ) from error

    def _read(self, response: Any) -> str:
        """The answer's text. Raises ModelError for one that is too long, of which the rest is not read, and
        `ReadTimeout` for one that takes too long."""
        import httpx2

        read, end = bytearray(), time.monotonic() + _PATIENCE
        for piece in response.iter_bytes():
            read += piece
            if time.monotonic() > end:
                raise httpx2.ReadTimeout(f"no end of its answer in {_PATIENCE:g} s")
            if len(read) > MOST_BYTES:
                raise ModelError(
                    f"endpoint {self.url} answers with more than {MOST_BYTES >> 20} MiB; "
                    "is it a server of OpenAI's HTTP interface?"
                )
        return read.decode("utf-8", errors="replace")

    def _fix(self, status: int) -> str:
        if status not in (401, 403):
            return ""
        return f"the key in {KEY} is not what it wants" if self._key else f"set {KEY} to its key"

    def without_key(self, text: str) -> str:
        """What a server said, to be shown."""
        return text.replace(self._key, "…") if self._key else text

    def _harmless(self, text: str) -> str:
        """The text's first line, short and without the key."""
        line = self.without_key(next(iter(text.strip().splitlines()), ""))
        return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _hang_up(stream: Any) -> None:
    """End a connection, so that who waits for its next byte is told that there is none."""
    with suppress(OSError):
        stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _message(text: str) -> str:
    """What an error's body says: OpenAI's `error.message`, or whatever stands in its place."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        for name in ("error", "message", "detail"):
            if isinstance(found, dict) and name in found:
                found = found[name]
        return found if isinstance(found, str) else json.dumps(found)
    return text


def _seconds(retry_after: str | None) -> float:
    """Of a `Retry-After` in seconds; the other form, a date, is passed over."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0
