"""A model behind an endpoint against the same model scored here, and servers that cannot, or will not."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers.normalizers import Lowercase

from spillover.errors import ModelError
from spillover.knowledge.prompts import Question
from spillover.llm import endpoint, models, reading
from spillover.llm.encode import Unscorable
from spillover.llm.endpoint import Endpoint
from spillover.llm.score import score, unscorable
from spillover.runs.stats import rank_matrix
from tests.llm.served import Replayed, Served, serving
from tests.llm.test_score import PREFIXES, QUESTIONS, question

pytestmark = pytest.mark.usefixtures("no_waiting")

ASKED = [*QUESTIONS, PREFIXES, question("Mara:", "Paris", "Parish", "Par")]
MERGED = Question(prompt="Mara P", completions=("aris", "ython"))
"""The tokens of the prompt do not begin those of the whole."""


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
