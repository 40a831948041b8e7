"""`score` with models behind an endpoint: the numbers of the weights, and what is said of it."""

import json
from pathlib import Path

import pytest

from spillover.errors import ModelError
from spillover.jobs.audit import audit
from spillover.jobs.score import score
from spillover.llm import client
from tests.jobs.people import run_cli
from tests.llm.served import Served, serving
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_gguf import save_tiny_gguf_adapter


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(client.KEY, "sk-secret")
    return "sk-secret"


def test_an_endpoint_is_scored_as_its_weights(
    tiny: str, here: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    local = score("people.yaml", model=tiny, tuned=tiny)
    with serving(Served(Path(tiny), key=key)) as served:
        run_cli("score", "people.yaml", "--model", served.name, "--tuned", served.name, "--json")
        printed = capsys.readouterr()
        mixed = score("people.yaml", model=served.name, tuned=tiny)
    document = json.loads(printed.out)
    for found in (document, mixed):
        for name in ("facts", "rules"):
            assert json.dumps(found[name]) == json.dumps(local[name])
    assert (document["model"], document["tuned"]) == (served.name, served.name)
    assert "other_format" not in document
    said = [note for note in document["notes"] if "whose weights are not pinned" in note]
    assert said[0].startswith(f"{served.name} is an endpoint, ")
    assert key not in printed.out + printed.err
    assert list(here.glob("**/cells")) == [], "nothing is kept of what a server said"


def test_what_cannot_be_done_with_an_endpoint(here: Path, tiny: str) -> None:
    chat = (here / "people.yaml").read_text("utf-8").replace('lives in"}', 'lives in", format: chat}')
    (here / "chat.yaml").write_text(chat, encoding="utf-8")
    for side in ("model", "tuned"):
        with pytest.raises(
            ModelError, match=r"relation lives_in is of format chat, and 'openai:http://host#m'"
        ):
            score("chat.yaml", **{side: "openai:http://host#m"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelError, match="is an endpoint, which can only be scored"):
        audit("people.yaml", model="openai:http://host#m")
    save_tiny_adapter(Path(tiny), here / "adapter")
    with pytest.raises(ModelError, match="adapter holds a LoRA adapter; give the weights of its base"):
        score("people.yaml", model="openai:http://host#m", tuned="adapter")
    file = save_tiny_gguf_adapter(here / "adapter", Path(tiny), here / "a.gguf", alpha=2)
    with pytest.raises(ModelError, match=r"and the weights of its base \(no endpoint\) as --model"):
        score("people.yaml", model="openai:http://host#m", tuned=str(file))
