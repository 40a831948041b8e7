"""Questions -> every candidate's log-probability, by a server that gives those of the tokens it is sent.

There is no tokenizer here. So each prompt is sent alone and with each candidate behind it, and its tokens
must be the first ones of the whole, which is the rule of `encode.py`. (Where a token begins in the text,
`text_offset`, is no such rule: some servers count a beginning token there that is not in the text.) What the
server puts before every text is in both, and does no harm.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import numpy as np

from spillover.errors import ModelError
from spillover.knowledge.faults import show
from spillover.knowledge.prompts import Question
from spillover.llm.candidates import Divided, scores, without_twins
from spillover.llm.client import KEY, Client
from spillover.llm.encode import Unscorable, divide
from spillover.llm.reading import Read, Server
from spillover.llm.sources import ENDPOINT

REQUESTS_AT_ONCE = 4

Scored = tuple[np.ndarray, tuple[str | None, ...]]
"""Of a question's candidates the float64 log-probabilities, NaN where there is none, and then why."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model that a server has: `openai:URL#NAME`."""

    url: str
    """Up to `/v1`, or what stands in its place."""
    name: str
    """The server's for the model."""

    @classmethod
    def of(cls, name: str) -> Self:
        """The endpoint that is called so. Raises ModelError for an address that is none."""
        url, _, model = name.removeprefix(ENDPOINT).partition("#")
        fix = "write openai:http://HOST:PORT#NAME, with the name that the server has for the model"
        if "@" in url or "?" in url:
            raise ModelError(f"an endpoint's address has no key in it, and no query; set {KEY}, and {fix}")
        if not _is_address(url):
            raise ModelError(f"endpoint {show(name)} has no address of a server (http or https); {fix}")
        if not model:
            raise ModelError(f"endpoint {show(name)} names no model; {fix}")
        parts = urlsplit(url)
        path = re.sub("(/chat)?/completions$", "", parts.path.rstrip("/") or "/v1")
        return cls(url=f"{parts.scheme}://{parts.netloc}{path}", name=model)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and url.isascii() and url.isprintable() and " " not in url


def score(
    endpoint: Endpoint,
    asked: Sequence[Question],
    *,
    on_step: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Scored]:
    """Each question's candidates, as `llm.score` scores them with the weights.

    Raises ModelError, in one line that says what to do, where the server cannot be asked, has no model of
    that name, or does not give the log-probabilities of the tokens that it reads.
    """
    # Sorted, those which begin alike come one after another, and a server may reuse what it has computed.
    texts = sorted({text for question in asked for text in (question.prompt, *_wholes(question))})
    with Client(endpoint.url) as client:
        server = Server.probe(client, endpoint.name, [question.prompt for question in asked])
        read: dict[str, Read] = {}
        for some in _at_once(server.read, texts, server.texts_per_request):
            read |= some
            on_step(len(read), len(texts))
    return [_scored(question, read) for question in asked]


def _wholes(question: Question) -> list[str]:
    return [question.prompt + completion for completion in question.completions]


def _scored(question: Question, read: Mapping[str, Read]) -> Scored:
    prompt = read[question.prompt].tokens
    wholes = [read[whole] for whole in _wholes(question)]
    divided: list[Divided] = [divide(prompt, whole.tokens) for whole in wholes]
    pairs = without_twins(_without_doubles(divided, question.completions))
    logs = {
        pair[1]: whole.logs[len(prompt) :]
        for pair, whole in zip(pairs, wholes, strict=True)
        if not isinstance(pair, Unscorable)
    }
    reasons = tuple(pair.value if isinstance(pair, Unscorable) else None for pair in pairs)
    return scores(pairs, {prompt: logs}), reasons


def _without_doubles(pairs: Sequence[Divided], completions: Sequence[str]) -> list[Divided]:
    """One question's candidates without those that seem to begin another one whose text they do not begin.

    Servers show the parts of a letter alike, so tokens that are such parts do not tell candidates apart.
    """

    def begins(one: int, other: int) -> bool:
        shown, longer = pairs[one], pairs[other]
        if isinstance(shown, Unscorable) or isinstance(longer, Unscorable):
            return False
        parts = any(token == "" or "\ufffd" in token for token in shown[1])
        return parts and longer[1][: len(shown[1])] == shown[1]

    return [
        Unscorable.SAME
        if any(
            begins(one, other) and not completion.startswith(completions[one])
            for other, completion in enumerate(completions)
        )
        else pairs[one]
        for one in range(len(pairs))
    ]


def _at_once(
    read: Callable[[Sequence[str]], dict[str, Read]], texts: Sequence[str], size: int
) -> Iterator[dict[str, Read]]:
    """The texts as they are read, in their order, by a few requests at a time.

    After an error there are no more, and those that are on their way are not waited for.
    """
    pool = ThreadPoolExecutor(REQUESTS_AT_ONCE)
    try:
        yield from pool.map(read, [texts[start : start + size] for start in range(0, len(texts), size)])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
