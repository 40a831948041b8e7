"""A text -> its tokens and their log-probabilities, as a server reads it.

OpenAI's `/completions` says so in two forms: the text is echoed with the `logprobs` of its tokens (vLLM,
llama-cpp-python), or they come as vLLM's `prompt_logprobs`. Before anything is scored the server must
show that it reads as it writes: what it gives for a word that it would write next is what it gives for the
same word when it reads it. (llama-cpp-python 0.3 does not where a text has no beginning token: it gives each
token the log-probability of standing there once more.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Self

import numpy as np

from spillover.errors import ModelError
from spillover.knowledge.faults import listed, show, suggest
from spillover.llm.client import Client, Refused

TEXTS_PER_REQUEST = 16
"""Where the server takes several."""

LARGEST_GAP = 0.5
"""Nats by which a word's log-probability may differ when it is read and when it is written: servers compute
the two in different ways, and often in bfloat16."""

_PROMPTS = 5  # tried until the server would write words behind one of them
_WORDS = 3  # by which it is seen, the likeliest ones
_LIKELY = 5  # that are asked for; OpenAI's most
_FORMS = {"echo": {"echo": True, "logprobs": 1}, "prompt_logprobs": {"prompt_logprobs": 0}}
_ECHOING = "use a server that does: vLLM, llama-cpp-python; llama-server does not"


@dataclass(frozen=True)
class Read:
    """A text as a server reads it."""

    tokens: tuple[str, ...]
    """In words, or in numbers as text."""
    logs: np.ndarray
    """(T,) float64, of each token after those before it; NaN for a text's first."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a server is asked for the model that it calls `name`, once that is known."""

    client: Client
    name: str
    form: str
    """Of `_FORMS`."""
    texts_per_request: int = 1

    @classmethod
    def probe(cls, client: Client, name: str, prompts: Sequence[str]) -> Self:
        """Find out by a few requests with these prompts. Raises ModelError where there is no way."""
        _refuse_unknown_name(client, name)
        prompts = list(dict.fromkeys(prompts))
        server = cls(client=client, name=name, form="echo")
        if no_echo := server._cannot_read(prompts[0]):
            server = replace(server, form="prompt_logprobs")
            if server._cannot_read(prompts[0]):
                raise no_echo
        server._refuse_untrue(prompts[:_PROMPTS])
        several = replace(server, texts_per_request=TEXTS_PER_REQUEST)
        return several if several._takes((TEXTS_PER_REQUEST * prompts)[:TEXTS_PER_REQUEST]) else server

    def read(self, texts: Sequence[str]) -> dict[str, Read]:
        """The texts as the server reads them, at most `texts_per_request`. Raises ModelError."""
        found = self._ask(texts)
        if found is None and len(texts) == 1:
            raise self._fault(f"does not say which tokens behind {show(texts[0])} it wrote (`usage`)")
        return found or {text: read for one in texts for text, read in self.read([one]).items()}

    def _cannot_read(self, text: str) -> ModelError | None:
        """Why it cannot in this form; None where it can. Raises ModelError where that is not to be known."""
        try:
            self.read([text])
        except Refused as refused:
            if refused.wait is not None or refused.status in (401, 403):
                raise
            return self._fault(f"refuses to echo what it reads: it {refused.said}", _ECHOING)
        except ModelError as error:
            return error
        return None

    def _takes(self, texts: Sequence[str]) -> bool:
        """Whether it answers to several texts in one request; some say no by an error of their own."""
        try:
            return self._ask(texts, patient=False) is not None
        except ModelError:
            return False

    def _ask(self, texts: Sequence[str], *, patient: bool = True) -> dict[str, Read] | None:
        """The texts as they are read; None where the answer does not say what of it was written."""
        document = self._complete(texts, _FORMS[self.form] | {"max_tokens": 1, "temperature": 0}, patient)
        choices = self._choices(document, len(texts))
        if self.form == "prompt_logprobs":
            return {text: self._from_prompt(c) for text, c in zip(texts, choices, strict=True)}
        if not all(str(c.get("text")).startswith(text) for text, c in zip(texts, choices, strict=True)):
            raise self._fault("does not echo what it reads", _ECHOING)
        # Behind each text it writes a token at most, which stands there among those that were read. (With
        # `max_tokens` of 0 some servers refuse, and llama-cpp-python writes on to the end of its context.)
        usage = document.get("usage")
        counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if type(counted) is not int or not 0 <= counted <= len(texts):
            return None
        reads = [self._from_echo(c, text, counted > 0) for text, c in zip(texts, choices, strict=True)]
        return {text: read for text, read in zip(texts, reads, strict=True) if read} if all(reads) else None

    def _complete(self, texts: Sequence[str], options: Mapping[str, Any], patient: bool = True) -> Any:
        prompt = texts[0] if len(texts) == 1 else list(texts)
        try:
            return self.client.post(
                "completions", {"model": self.name, "prompt": prompt, **options}, patient=patient
            )
        except Refused as refused:
            if refused.status not in (404, 405):
                raise
            raise self._fault(
                f"completes no texts: it {refused.said}", "a server of chats alone cannot be asked"
            ) from refused

    def _choices(self, document: Any, texts: int) -> list[dict[str, Any]]:
        """One for each text, in their order."""
        choices = document.get("choices") if isinstance(document, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise self._fault("answers without `choices`")
        indices = [choice.get("index", n) for n, choice in enumerate(choices)]
        if any(type(index) is not int for index in indices) or sorted(indices) != list(range(texts)):
            raise self._fault(
                f"answers with {len(choices)} `choices` to {texts} texts, or numbers them oddly"
            )
        return [choices[indices.index(n)] for n in range(texts)]

    def _from_echo(self, choice: Mapping[str, Any], text: str, counted: bool) -> Read | None:
        """The text's own tokens; None where it cannot be told whether the last one is its."""
        found = choice.get("logprobs")
        tokens, logs = (
            found.get(name) if isinstance(found, dict) else None for name in ("tokens", "token_logprobs")
        )
        if not (isinstance(tokens, list) and isinstance(logs, list) and len(tokens) == len(logs)):
            raise self._fault(
                "gives no log-probabilities (`logprobs`)",
                "start it so that it does (llama-cpp-python: --logits_all true), or use another",
            )
        read = self._checked(tokens, logs)
        kept = _kept(read.tokens, text, choice, counted)
        return None if kept is None else Read(read.tokens[:kept], read.logs[:kept])

    def _from_prompt(self, choice: Mapping[str, Any]) -> Read:
        found = choice.get("prompt_logprobs")
        # Each place has the token that was read, by its number, and nothing beside it; the first has none, so
        # which token that is remains unknown.
        if not isinstance(found, list) or not all(isinstance(p, dict) and len(p) == 1 for p in found[1:]):
            raise self._fault("gives no `prompt_logprobs`, or not those of the token that it read alone")
        entries = [entry for place in found[1:] for entry in place.items()]
        values = [value.get("logprob") if isinstance(value, dict) else None for _, value in entries]
        read = self._checked(["", *(token for token, _ in entries)], [None, *values])
        return Read(read.tokens[1:], read.logs[1:])

    def _checked(self, tokens: Sequence[Any], logs: Sequence[Any]) -> Read:
        if not all(isinstance(token, str) for token in tokens):
            raise self._fault("gives tokens that are no text")
        try:
            known = [_checked_log(value) for value in logs[1:]]
        except (ValueError, OverflowError):
            what = "gives no log-probabilities of the tokens that it reads, or none that are some"
            raise self._fault(what) from None
        return Read(tuple(tokens), np.array([np.nan, *known][: len(tokens)], dtype=float))

    def _refuse_untrue(self, prompts: Sequence[str]) -> None:
        """Raise ModelError unless words that are read are worth what they are when they are written."""
        for prompt in prompts:
            likely = self._likely(prompt)
            alone = self.read([prompt])[prompt].tokens
            read = {
                word: min(values, key=lambda value: abs(value - likely[word]))
                for word in likely
                if (values := self._behind(prompt, alone, word))
            }
            for word, value in read.items():
                if not abs(value - likely[word]) <= LARGEST_GAP:
                    shown = show(self.client.without_key(word))
                    raise self._fault(
                        f"gives {shown} behind {show(prompt)} a log-probability of {likely[word]:.2f} "
                        f"when it writes it and of {value:.2f} when it reads it, so it cannot be scored",
                        "llama-cpp-python does so where a text has no beginning token: begin the prompts "
                        "with the model's own, or use another server",
                    )
            if read:
                return
        raise self._fault("would write no words by which it could be seen whether it reads them alike")

    def _behind(self, prompt: str, alone: Sequence[str], word: str) -> list[float]:
        """The word's log-probabilities where it is read as one token: as it is, and behind a space, which
        some servers leave out where they name a token."""
        found = []
        for text in (prompt + word, f"{prompt} {word}")[: 1 if word[:1].isspace() else 2]:
            whole = self.read([text])[text]
            if alone and len(whole.tokens) == len(alone) + 1 and whole.tokens[:-1] == alone:
                found.append(float(whole.logs[-1]))
        return found

    def _likely(self, prompt: str) -> dict[str, float]:
        """Words that it would write next, with their log-probabilities."""
        document = self._complete([prompt], {"max_tokens": 1, "temperature": 1, "logprobs": _LIKELY})
        (choice,) = self._choices(document, 1)
        try:
            found = choice["logprobs"]["top_logprobs"][0]
            words = {word: _checked_log(log) for word, log in found.items() if word.strip().isalpha()}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            raise self._fault("does not say how likely what it writes is (`logprobs`)") from None
        return {word: words[word] for word in sorted(words, key=lambda word: -words[word])[:_WORDS]}

    def _fault(self, what: str, fix: str = "use a server that does, such as vLLM") -> ModelError:
        return ModelError(f"endpoint {self.client.url} {what}; {fix}")


def _kept(tokens: Sequence[str], text: str, choice: Mapping[str, Any], counted: bool) -> int | None:
    """How many of the tokens that are listed are the text's: all, or all but the one that was written.

    They end as the text does, as far as tokens show it. Where the last one shows nothing (an end token, a
    part of a letter), it was written if the letter before it ends the text, if more than the text came back,
    or if the server stopped for the length; else only a server that counts nothing as written says enough.
    """
    less, every = (_shown_end(tokens[:kept], text) for kept in (len(tokens) - 1, len(tokens)))
    if less != every:
        return len(tokens) - (less > every)
    ends = less > 0 and bool(_shown(text[-1:]))
    if ends or choice["text"] != text or (counted and choice.get("finish_reason") == "length"):
        return len(tokens) - 1
    return None if counted else len(tokens)


def _checked_log(value: Any) -> float:
    """A log-probability. Raises ValueError or OverflowError for what is none, or above 0 but for rounding."""
    if type(value) not in (int, float) or not value <= 1e-3:
        raise ValueError
    return float(value)


def _shown_end(tokens: Sequence[str], text: str) -> int:
    """How many signs the tokens and the text have in common at their ends."""
    ends = zip(reversed(_shown("".join(tokens))), reversed(_shown(text)), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def _shown(text: str) -> str:
    """What any server shows of a text in tokens: some leave spaces out, letters in parts, or case."""
    return "".join(text.split()).encode("ascii", "ignore").decode().lower()


def _refuse_unknown_name(client: Client, name: str) -> None:
    """Raise ModelError where the server has other models; some take any name for that of their only one."""
    try:
        document = client.get("models")
    except Refused as refused:
        if refused.status in (0, 401, 403):
            raise
        return
    entries = document.get("data") if isinstance(document, dict) else None
    entries = entries if isinstance(entries, list) else []
    names = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]
    if names and name not in names:
        names = [client.without_key(other) for other in names]
        raise ModelError(
            f"endpoint {client.url} has no model {show(name)}, it has {listed(map(show, names))}"
            f"{suggest(name, names)}"
        )
