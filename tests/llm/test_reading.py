"""What a server says of a text: told apart, or refused in a line."""

import json
from pathlib import Path

import pytest

from spillover.errors import ModelError
from spillover.llm import client, reading
from tests.llm.served import Served, serving
from tests.llm.test_endpoint import ASKED, asked_of

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("value", [-1.0, -9.0])
def test_a_word_may_be_shown_without_its_space(llama_folder: Path, value: float) -> None:
    """As vLLM does of a SentencePiece tokenizer's tokens, which it decodes one by one."""

    def echo(text: str, *tokens: str) -> dict:
        logprobs = {"tokens": [*tokens, "."], "token_logprobs": [None, *[value] * len(tokens)]}
        return {"choices": [{"text": f"{text}.", "logprobs": logprobs}], "usage": {"completion_tokens": 1}}

    answers = [
        {"choices": [{"logprobs": {"top_logprobs": [{"Oslo": -1.0}]}}]},
        echo("Mara in", "Mara", "in"),
        echo("Mara inOslo", "Mara", "in", "Os", "lo"),
        echo("Mara in Oslo", "Mara", "in", "Oslo"),
    ]
    first = [(200, {}, json.dumps(answer).encode()) for answer in answers]
    with serving(Served(llama_folder, first=first)) as served, client.Client(served.url) as asked:
        server = reading.Server(client=asked, name="tiny", form="echo")
        if value == -1:
            server._refuse_untrue(["Mara in"])
        else:
            with pytest.raises(ModelError, match=r"gives 'Oslo' behind 'Mara in' a .* of -1.00 .* of -9.00"):
                server._refuse_untrue(["Mara in"])
        assert served.first == []


@pytest.mark.parametrize(
    ("tokens", "text", "written", "said", "kept"),
    [
        (["in", " 2", "0", "0"], "in 200", "", ("stop", 1), 4),
        (["in", " 2", "0", "0", "0"], "in 200", "0", ("length", 1), 4),
        (["in", "▁2", "0", "0", "</s>"], "in 200", "", ("stop", 1), 4),
        (["in", "Oslo", ""], "<s>in Oslo", "", ("stop", 1), 2),
        (["<s>", "in", "東", "\ufffd"], "in 東京", "", ("length", 1), 3),
        (["in", "東", "\ufffd"], "in 東京", "", ("stop", 0), 3),
        (["in", "東", "\ufffd"], "in 東京", "", ("stop", 1), None),
        (["in", " Oslo"], "in Oslo", "", ("stop", 1.0), None),
    ],
)
def test_what_was_written_is_told_from_what_was_read(
    tokens: list[str], text: str, written: str, said: tuple[str, int], kept: int | None, llama_folder: Path
) -> None:
    finish, counted = said
    logprobs = {"tokens": tokens, "token_logprobs": [None, *[-1.0] * (len(tokens) - 1)]}
    choice = {"text": text + written, "finish_reason": finish, "logprobs": logprobs}
    document = {"choices": [choice], "usage": {"completion_tokens": counted}}
    answer = (200, {}, json.dumps(document).encode())
    with serving(Served(llama_folder, first=[answer])) as served, client.Client(served.url) as asked:
        server = reading.Server(client=asked, name="tiny", form="echo")
        if kept is None:
            with pytest.raises(ModelError, match=f"does not say which tokens behind '{text}' it wrote"):
                server.read([text])
        else:
            assert server.read([text])[text].tokens == tuple(tokens[:kept])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (404, {}, b'{"detail": "Not Found"}'),
            r"completes no texts: it answers with error 404 \(Not Found\)",
        ),
        (
            (400, {}, b'{"error": {"message": "Only no echo is supported"}}'),
            r"refuses to echo .*Only no echo",
        ),
        ((307, {"Location": "http://else.example/v1"}, b""), "it is at 'http://else.example/v1'; give that"),
        ((200, {}, b"<html>\n<b>hello"), r"answers with what is no JSON \('<html>\\n<b>hello'\)"),
        ((200, {}, b"[" * 100_000), "answers with what is no JSON"),
        ((200, {}, b"[]"), "answers without `choices`"),
        ((200, {}, b'{"choices": [7]}'), "answers without `choices`"),
        ((200, {}, b'{"choices": []}'), "answers with 0 `choices` to 1 texts"),
        ((200, {}, b'{"choices": [{"index": "\x1b[31m"}]}'), "no JSON|answers with 1 `choices`"),
        (
            (200, {}, b'{"choices": [{"index": []}]}'),
            "answers with 1 `choices` to 1 texts, or numbers them odd",
        ),
        ((200, {}, b'{"choices": [{"index": {}}]}'), "answers with 1 `choices` to 1 texts"),
        ((200, {}, b'{"choices": [{"index": false}]}'), "answers with 1 `choices` to 1 texts"),
    ],
)
def test_odd_answers_are_one_line(llama_folder: Path, answer: tuple, message: str) -> None:
    with serving(Served(llama_folder, first=[answer] * 9)) as served:
        with pytest.raises(ModelError, match=message) as error:
            asked_of(served)
        assert "\n" not in str(error.value)


def test_numbers_that_are_no_log_probabilities_are_refused(llama_folder: Path) -> None:
    def answer(value: str) -> tuple:
        choice = '{"text": "%s", "logprobs": {"tokens": ["a", "b"], "token_logprobs": [null, %s]}}'
        text = '{"choices": [%s], "usage": {"completion_tokens": 0}}' % (choice % (ASKED[0].prompt, value))
        return 200, {}, text.encode()

    for value in ("0.5", "NaN", "true", "false", '"-1"', "{}", "-1" + 400 * "0"):
        served = serving(Served(llama_folder, first=[answer(value)], forms=()))
        with (
            served as asked,
            pytest.raises(ModelError, match="no log-probabilities of the tokens that it reads"),
        ):
            asked_of(asked)


@pytest.mark.parametrize("value", [False, "-1", 0.5, -(10**400)], ids=lambda value: str(value)[:9])
def test_words_of_no_log_probability_are_refused(llama_folder: Path, value: object) -> None:
    likely = {"choices": [{"logprobs": {"top_logprobs": [{"Oslo": value}]}}]}
    answer = (200, {}, json.dumps(likely).encode())
    with serving(Served(llama_folder, first=[answer])) as served, client.Client(served.url) as asked:
        server = reading.Server(client=asked, name="tiny", form="echo")
        with pytest.raises(ModelError, match="does not say how likely what it writes is"):
            server._refuse_untrue(["Mara"])
