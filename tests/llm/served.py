"""A server of OpenAI's `/completions` in this process: a tiny model, and faults on demand."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from spillover.llm import models


@dataclass
class Served:
    """A tiny model behind HTTP, and what the server can and cannot do."""

    folder: Path
    lists: bool = True
    """Whether it takes several prompts at once; it fails at them like llama-cpp-python otherwise."""
    longest: int = 16
    """Prompts that it takes at once, at most."""
    forms: tuple[str, ...] = ("echo",)
    logprobs: bool = True
    of_prompt: bool = True
    """Whether the echoed prompt has log-probabilities."""
    shifted: bool = False
    """Whether they are those of the token before, as llama-cpp-python's."""
    beginning: bool = False
    """Whether a beginning token is shown that is not in the text, as vLLM's."""
    silent: bool = False
    """Whether it ends at once instead of writing a token."""
    counts_end: bool = False
    """Whether it then counts its end token, which it does not list."""
    beside: bool = False
    """Whether `prompt_logprobs` have the likeliest token beside, and before, the one that was read."""
    key: str = ""
    pause: float = 0
    """Seconds before each byte of an answer's body; 0 for no bytes apart."""
    first: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """What it answers before it begins to work."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    """What it was asked."""
    names: tuple[str, ...] = ("tiny", "other")
    url: str = ""

    def __post_init__(self) -> None:
        self.model, self.tokenizer = models.load(self.folder)
        self.lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"openai:{self.url}#{self.names[0]}"

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        with self.lock:
            choices = [self.choice(n, prompt, body) for n, prompt in enumerate(prompts)]
        usage = {"completion_tokens": 0 if self.silent and not self.counts_end else len(prompts)}
        return {"choices": choices[::-1], "usage": usage}  # in an order of its own

    def choice(self, index: int, prompt: str, body: dict[str, Any]) -> dict[str, Any]:
        read = self.tokenizer(prompt)["input_ids"]
        if self.beginning:
            read = [self.tokenizer.eos_token_id, *read]
        with torch.inference_mode():
            logs = self.model(torch.tensor([read])).logits[0].double().log_softmax(-1)
        ids = [*read, *([] if self.silent else [int(logs[-1].argmax())])]
        values = [None, *(float(logs[place - 1, token]) for place, token in enumerate(ids) if place)]
        if self.shifted:
            last = len(read) - 1
            values = [None, *(float(logs[min(n, last), token]) for n, token in enumerate(ids) if n)]
        choice: dict[str, Any] = {"index": index, "text": self.tokenizer.decode(ids[len(read) :])}
        choice["finish_reason"] = "stop" if self.silent else "length"
        if "prompt_logprobs" in body and "prompt_logprobs" in self.forms:
            choice["prompt_logprobs"] = [
                None,
                *(
                    ({"likeliest": {"logprob": -0.1}} if self.beside else {})
                    | {str(token): {"logprob": value}}
                    for token, value in zip(read[1:], values[1:], strict=False)
                ),
            ]
            return choice
        start = len(read)
        if body.get("echo") and "echo" in self.forms:
            choice["text"], start = prompt + choice["text"], 0
        if self.logprobs and "logprobs" in body:
            if not self.of_prompt and not start:
                values[: len(read)] = [None] * len(read)
            top = logs[-1].topk(body["logprobs"])
            choice["logprobs"] = {
                "tokens": [self.tokenizer.decode([token]) for token in ids[start:]],
                "token_logprobs": values[start:],
                "text_offset": [0] * len(ids[start:]),
                "top_logprobs": [
                    {
                        self.tokenizer.decode([int(token)]): float(value)
                        for value, token in zip(*top, strict=True)
                    }
                ],
            }
        return choice


class Replayed(Served):
    """A server that answers what one has answered, as `benchmarks.endpoint` records it."""

    def __init__(self, exchange: list[list[Any]], name: str) -> None:
        self.names, self.lists, self.key, self.first, self.seen = (name,), False, "", [], []
        self.pause, self.longest = 0, 0
        self.answers = {json.dumps(body, sort_keys=True): answer for body, answer in exchange}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.answers[json.dumps(body, sort_keys=True)]


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """The server while it runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.seen.append({"path": self.path, "key": self.headers.get("Authorization")})
            self.reply(200, {}, json.dumps({"data": [{"id": name} for name in served.names]}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            if served.first:
                return self.reply(*served.first.pop(0))
            if served.key and self.headers.get("Authorization") != f"Bearer {served.key}":
                said = {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}}
                return self.reply(401, {}, json.dumps(said).encode())
            most = served.longest if served.lists else 0
            if isinstance(body["prompt"], list) and len(body["prompt"]) > most:
                return self.reply(500, {}, b'{"error": {"message": ""}}')
            self.reply(200, {}, json.dumps(served.complete(body)).encode())

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # who asked may have read enough
                for byte in range(len(body) if served.pause else 0):
                    time.sleep(served.pause)
                    self.wfile.write(body[byte : byte + 1])
                self.wfile.write(b"" if served.pause else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
