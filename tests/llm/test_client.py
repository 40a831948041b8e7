"""Requests that are waited for, asked again or given up, and the key that goes with them."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from spillover.errors import ModelError
from spillover.llm import client, endpoint, reading
from spillover.llm.endpoint import Endpoint
from tests.llm.served import Served, serving
from tests.llm.test_endpoint import ASKED, asked_of

pytestmark = pytest.mark.usefixtures("no_waiting")


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
            request = b""
            while b"Mara" not in request:
                request += connection.recv(4096)
            time.sleep(0.2)  # until it waits for the answer
        with connection, pytest.raises(client.Refused):
            answer.result(timeout=5)


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
