"""A model behind an endpoint against the same model scored here, and servers that cannot, or will not."""

import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers.normalizers import Lowercase

from spillover.errors import ModelError
from spillover.knowledge.prompts import Question
from spillover.llm import client, endpoint, models, reading
from spillover.llm.encode import Unscorable
from spillover.llm.endpoint import Endpoint
from spillover.llm.score import score, unscorable
from spillover.runs.stats import rank_matrix
from tests.llm.served import Replayed, Served, serving
from tests.llm.test_score import PREFIXES, QUESTIONS, question

ASKED = [*QUESTIONS, PREFIXES, question("Mara:", "Paris", "Parish", "Par")]
MERGED = Question(prompt="Mara P", completions=("aris", "ython"))
"""The tokens of the prompt do not begin those of the whole."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(
        client.Client, "_is_closed_within", lambda self, seconds: bool(waited.append(seconds))
    )
    monkeypatch.delenv(client.KEY, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return waited


def asked_of(served: Served, asked=tuple(ASKED)) -> list[endpoint.Scored]:
    return endpoint.score(Endpoint.of(served.name), asked)


@pytest.mark.parametrize(
    "able",
    [
        {},
        {"lists": False},
        {"silent": True},
        {"silent": True, "counts_end": True},
        {"forms": ("prompt_logprobs",)},
        {"forms": ("prompt_logprobs",), "lists": False},
    ],
    ids=str,
)
def test_scores_are_those_of_the_weights(
    llama_folder: Path, able: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TEXTS_PER_REQUEST", 3)
    model, tokenizer = models.load(llama_folder)
    asked = [*ASKED, MERGED]
    with serving(Served(llama_folder, **able)) as served:
        found = asked_of(served, asked)
    for one, expected, (values, reasons) in zip(asked, score(model, tokenizer, asked), found, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-4)
        assert list(reasons) == unscorable(tokenizer, one)
    assert np.isnan(found[-1][0]).all()
    lists = [len(body["prompt"]) for body in served.seen if isinstance(body.get("prompt"), list)]
    assert lists[0] == 3, "what will be sent is tried"
    assert (len(lists) > 5) == able.get("lists", True)
    assert able.get("lists", True) or len(lists) == 1, "of a list it is asked once"


def test_a_server_of_short_lists_is_asked_one_by_one(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    with serving(Served(llama_folder, longest=4)) as served:
        found = asked_of(served)
    for expected, (values, _) in zip(score(model, tokenizer, ASKED), found, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-4)


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


def test_a_prompt_of_one_token_that_is_not_seen_begins_no_text(llama_folder: Path) -> None:
    with serving(Served(llama_folder, forms=("prompt_logprobs",))) as served:
        *_, (values, reasons) = asked_of(served, [*ASKED, question("M", "Paris", "Oslo")])
    assert np.isnan(values).all()
    assert set(reasons) == {Unscorable.NO_PROMPT.value}


def test_a_beginning_that_the_server_puts_there_is_in_no_ones_way(llama_folder: Path) -> None:
    model, tokenizer = models.load(llama_folder)
    begun = [question("<eos>" + one.prompt, *(c[1:] for c in one.completions)) for one in ASKED]
    with serving(Served(llama_folder, beginning=True)) as served:
        for (values, _), expected in zip(asked_of(served), score(model, tokenizer, begun), strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.fixture(scope="module")
def recorded() -> dict:
    """What llama-cpp-python 0.3.36 answered, serving SmolLM2 in float32, and the scores of the same weights.

    `benchmarks.endpoint --float32 --questions 3 --record` wrote it.
    """
    file = Path(__file__).parent / "recorded" / "llama_cpp_python.json"
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_real_servers_answers_have_the_ranks_of_the_weights(recorded: dict) -> None:
    asked = [Question(prompt=prompt, completions=tuple(rest)) for prompt, *rest in recorded["begun"]]
    with serving(Replayed(recorded["exchange_begun"], "smollm2")) as served:
        found = asked_of(served, asked)
    for (values, reasons), expected in zip(found, recorded["scored_here"], strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-4)
        np.testing.assert_array_equal(rank_matrix([values]), rank_matrix([np.array(expected)]))
        assert set(reasons) == {None}


def test_a_real_servers_shifted_echo_is_refused(recorded: dict) -> None:
    """Without a beginning token llama-cpp-python gives each token what it would have after itself."""
    asked = [Question(prompt=prompt, completions=tuple(rest)) for prompt, *rest in recorded["plain"]]
    with (
        serving(Replayed(recorded["exchange_plain"], "smollm2")) as served,
        pytest.raises(
            ModelError,
            match=r"behind 'Abena Barlow speaks' a log-probability of -1.44 when it writes it and of -9.95",
        ),
    ):
        asked_of(served, asked)


@pytest.mark.parametrize(
    ("cannot", "message"),
    [
        ({"forms": ()}, "does not echo what it reads; use a server that does: vLLM, llama"),
        ({"logprobs": False}, r"gives no log-probabilities \(`logprobs`\); start it so that it does"),
        ({"of_prompt": False}, "gives no log-probabilities of the tokens that it reads"),
        ({"forms": ("prompt_logprobs",), "beside": True}, "does not echo what it reads"),
        ({"shifted": True}, r"when it writes it and of -\d+\.\d\d when it reads it, so it cannot be scored"),
    ],
    ids=str,
)
def test_a_server_that_cannot_is_one_line(llama_folder: Path, cannot: dict, message: str) -> None:
    cannot_do = Served(llama_folder, **cannot)
    cannot_do.model.lm_head.weight.data.mul_(30)  # so that words differ in how likely they are
    with serving(cannot_do) as served, pytest.raises(ModelError, match=message):
        asked_of(served)


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


def test_an_endless_answer_is_not_read_to_its_end(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 1 << 20)
    endless = (200, {}, b" " * (1 << 22))
    served = serving(Served(llama_folder, first=[endless] * 3))
    with served as asked, pytest.raises(ModelError, match="answers with more than 1 MiB"):
        asked_of(asked)


def test_a_busy_server_is_asked_again(llama_folder: Path, no_waiting: list[float]) -> None:
    busy = [(429, {"Retry-After": "7"}, b""), (503, {}, b"loading"), (500, {"Retry-After": "1e9"}, b"")]
    with serving(Served(llama_folder, first=list(busy))) as served:
        found = asked_of(served)
        assert no_waiting == [7, 2, 60]
        served.first[:] = []
        for (values, _), (again, _) in zip(found, asked_of(served), strict=True):
            np.testing.assert_array_equal(values, again)


def test_a_server_that_stays_busy_is_given_up(llama_folder: Path, no_waiting: list[float]) -> None:
    said = b'{"error": {"message": "the\\u001b[2J end"}}'
    with serving(Served(llama_folder, first=[(503, {}, said)] * 9)) as served:
        with pytest.raises(ModelError, match=r"answers with error 503 \(the\\x1b\[2J end\)"):
            asked_of(served)
        assert (no_waiting, len(served.first)) == ([1, 2, 4, 8], 4)


def test_nobody_there_is_said_at_once(no_waiting: list[float]) -> None:
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9/v1 cannot be reached .*; check the address"):
        endpoint.score(Endpoint.of("openai:http://127.0.0.1:9#tiny"), ASKED)
    assert no_waiting == []


def test_a_server_that_keeps_silent_is_asked_once_more(
    llama_folder: Path, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.2)
    with serving(Served(llama_folder)) as served, client.Client(served.url) as asked:
        for pause in (0.4, 0.05):  # without a byte, and byte by byte without an end
            served.pause, seen = pause, len(served.seen)
            with pytest.raises(ModelError, match=r"cannot be reached \((timed out|no end of its answer in)"):
                asked.post("completions", {"prompt": "Mara"})
            assert len(served.seen) == seen + 2
    assert no_waiting == [1, 1]


def test_who_leaves_waits_for_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for one that is on its way nor for what comes before it is asked again."""
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as deaf, ThreadPoolExecutor() as pool:
        with client.Client(f"http://127.0.0.1:{deaf.getsockname()[1]}") as asked:
            answer = pool.submit(asked.post, "completions", {"prompt": "Mara"})
            connection, _ = deaf.accept()
            assert connection.recv(1)
        with connection, pytest.raises(client.Refused):
            answer.result(timeout=5)


def test_after_an_error_the_others_are_not_waited_for() -> None:
    forever = threading.Event()

    def read(texts: Sequence[str]) -> dict[str, reading.Read]:
        if texts[0] == "bad":
            raise ModelError("no")
        forever.wait(20)
        return {}

    try:
        with pytest.raises(ModelError, match="no"):
            list(endpoint._at_once(read, ["bad", "slow", "slow"], 1))
        assert [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    finally:
        forever.set()


def test_another_models_name_is_refused_with_those_there_are(llama_folder: Path) -> None:
    with (
        serving(Served(llama_folder)) as served,
        pytest.raises(ModelError, match="has no model 'tinny', it has 'tiny', 'other'; did you mean 'tiny'"),
    ):
        endpoint.score(Endpoint.of(f"openai:{served.url}#tinny"), ASKED)


def test_the_key_is_sent_and_told_nobody(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with serving(Served(llama_folder, key="sk-secret")) as served:
        with pytest.raises(
            ModelError, match=r"error 401 \(wrong key None\); set SPILLOVER_API_KEY to its key"
        ):
            asked_of(served)
        monkeypatch.setenv(client.KEY, "sk-wrong")
        with pytest.raises(ModelError, match=r"wrong key Bearer …\); the key in SPILLOVER_API_KEY is not"):
            asked_of(served)
        monkeypatch.setenv(client.KEY, "sk-secret")
        assert len(asked_of(served)) == len(ASKED)
        assert "sk-other" not in json.dumps(served.seen)
    monkeypatch.setenv(client.KEY, "sk\nsecret")
    with pytest.raises(ModelError, match="SPILLOVER_API_KEY holds signs that a key cannot have"):
        asked_of(served)


def test_a_key_that_is_sent_back_is_shown_nowhere(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(client.KEY, "sk-secret")
    likely = {"choices": [{"logprobs": {"top_logprobs": [{"Q": -0.1}]}}]}
    for answer in ((308, {"Location": "http://a/sk-secret"}, b""), (200, {}, b"got " * 18 + b"sk-secret")):
        with (
            serving(Served(llama_folder, first=[answer])) as served,
            pytest.raises(ModelError, match="…") as error,
        ):
            asked_of(served)
        assert "sk-" not in str(error.value)
    with (
        serving(Served(llama_folder, names=("a-sk-secret",))) as served,
        pytest.raises(ModelError, match="has no model 'a', it has 'a-…'") as error,
    ):
        endpoint.score(Endpoint.of(f"openai:{served.url}#a"), ASKED)
    assert "sk-" not in str(error.value)
    monkeypatch.setenv(client.KEY, "Q")
    with serving(Served(llama_folder)) as served, client.Client(served.url) as asked:
        server = reading.Server(client=asked, name="tiny", form="echo")
        served.first = [(200, {}, json.dumps(likely).encode())]
        with pytest.raises(ModelError, match="gives '…' behind 'Mara' a"):
            server._refuse_untrue(["Mara"])


def test_the_key_does_not_follow_a_redirect(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(client.KEY, "sk-secret")
    with serving(Served(llama_folder)) as elsewhere:
        away = (308, {"Location": f"{elsewhere.url}/v1/completions"}, b"")
        with (
            serving(Served(llama_folder, first=[away])) as served,
            pytest.raises(ModelError, match="it is at"),
        ):
            asked_of(served)
        assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:", "has no address of a server"),
        ("openai:localhost:8000#m", "has no address of a server"),
        ("openai:ftp://host#m", "has no address of a server"),
        ("openai:http://host:99999#m", "has no address of a server"),
        ("openai:http://[host#m", "has no address of a server"),
        ("openai:http://a b#m", "has no address of a server"),
        ("openai:http://host", "names no model; write openai:http://HOST:PORT#NAME"),
        ("openai:http://me:secret@host#m", "an endpoint's address has no key in it"),
        ("openai:http://host?key=secret#m", "an endpoint's address has no key in it"),
    ],
)
def test_names_that_are_no_endpoint(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        Endpoint.of(name)
    assert "secret" not in str(error.value)


def test_addresses_are_those_of_other_clients() -> None:
    urls = {
        "http://host:8000": "http://host:8000/v1",
        "http://host:8000/v1/": "http://host:8000/v1",
        "https://host/api/v1/completions": "https://host/api/v1",
        "https://host/v1/chat/completions": "https://host/v1",
        "http://host/completions": "http://host",
    }
    assert [Endpoint.of(f"openai:{url}#a/b#c") for url in urls] == [
        Endpoint(url=url, name="a/b#c") for url in urls.values()
    ]


@pytest.mark.parametrize(
    "url", ["http://a..x", "http://.", f"http://{'a' * 64}", "http://[v1.a]", f"http://a/{'a' * 70_000}"]
)
def test_an_address_that_no_host_can_have_is_one_line(url: str, no_waiting: list[float]) -> None:
    with pytest.raises(ModelError, match=r"cannot be reached \(.*; check the address") as error:
        endpoint.score(Endpoint.of(f"openai:{url}#m"), ASKED)
    assert "\n" not in str(error.value)
    assert no_waiting == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere.pem"),
        ("HTTP_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "ftp://me:secret@127.0.0.1"),
    ],
)
def test_an_environment_that_no_client_can_be_made_of_is_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match=r"what the environment names .*; mend or unset HTTP_PROXY") as error:
        client.Client("http://127.0.0.1/v1")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_an_endpoint_has_no_weights_to_load() -> None:
    with pytest.raises(ModelError, match="is an endpoint, which can only be scored"):
        models.locate("openai:http://host#m")


def test_candidates_that_the_server_reads_alike_are_not_scored(llama_folder: Path) -> None:
    served = Served(llama_folder)
    served.tokenizer.backend_tokenizer.normalizer = Lowercase()
    with serving(served):
        ((values, reasons),) = asked_of(served, [question("mara lives in", "Paris", "paris", "Oslo")])
    assert np.isnan(values).tolist() == [True, True, False]
    assert reasons == (Unscorable.SAME.value, Unscorable.SAME.value, None)


def test_parts_of_letters_do_not_tell_candidates_apart(llama_folder: Path) -> None:
    """The tiny tokenizer has a token for each byte of a letter, and the server shows one mark for all."""
    model, tokenizer = models.load(llama_folder)
    asked = [
        question("Mara lives in", "Zürich", "Köln", "Paris"),
        question("Mara lives in", "東", "東京", "京都"),
        question("Mara lives in", "東", "東京", "Oslo"),
    ]
    with serving(Served(llama_folder)) as served:
        found = asked_of(served, asked)
    for (values, _), expected in zip(found, score(model, tokenizer, asked), strict=True):
        scored = ~np.isnan(values)
        np.testing.assert_allclose(values[scored], expected[scored], atol=1e-4)
    assert [np.isnan(values).tolist() for values, _ in found] == [[False] * 3, [True] * 3, [False] * 3]
