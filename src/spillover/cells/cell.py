"""A cell: what is taught, to which weights, how, and what the model is asked then; its identity, its text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from spillover.errors import RunError
from spillover.interventions.hooks import Intervention
from spillover.knowledge.prompts import Example, Question
from spillover.llm.settings import FineTuneConfig
from spillover.runs.files import hash_json, jsonable

VERSION = 1
"""Version of what a cell computes. It is part of every identity: raise it when the same cell would get other
numbers, and nothing that was computed before is taken for it."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model on disk. Two are the same where their files are, whatever they are called."""

    identity: str
    """SHA-256 over all that is loaded; see `llm.weights.identity`."""
    name: str = field(compare=False)
    """What it was asked for by: how another machine finds it."""
    folder: Path = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One tune of one model and the questions that it is asked then; without `settings` there is no tune."""

    weights: Weights
    """What is tuned, or asked as it is; of a tuned model, its base."""
    tuned: Weights | None = None
    """A model that was tuned elsewhere, whole or an adapter of `weights`; it is only asked."""
    taught: tuple[Example, ...] = ()
    settings: FineTuneConfig | None = None
    """With the seed."""
    interventions: tuple[Intervention, ...] = ()
    """Those that act during the tune; what changes the examples is in `taught`."""
    ask_every: int = 0
    """Steps between askings during the tune, whose answers are in its log; 0: it is only asked after it."""
    texts: tuple[str, ...] = ()
    """On which it is measured how far the tune took the model; the log's last row has it (`llm.drift`)."""
    questions: tuple[Question, ...]
    """Each once, sorted, so that who asks the same in another order has the same cell."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(sorted(set(self.questions))))

    @cached_property
    def identity(self) -> str:
        """SHA-256 (hex) of the content: of texts, weights and settings, never of names or paths."""
        document = self.document()
        del document["folders"]
        return hash_json(document)

    def document(self) -> dict[str, Any]:
        """The cell as JSON; `Cell.of` reads it."""
        return {
            "version": VERSION,
            "weights": self.weights.identity,
            "tuned": self.tuned and self.tuned.identity,
            "taught": [asdict(example) for example in self.taught],
            "settings": self.settings and asdict(self.settings) | {"learning_rate": self.settings.rate},
            "interventions": [_document(intervention) for intervention in self.interventions],
            **self._askings,
            **({"texts": list(self.texts)} if self.texts else {}),
            "questions": [[question.prompt, *question.completions] for question in self.questions],
            "folders": {
                role: {"name": weights.name, "folder": str(weights.folder)}
                for role, weights in (("weights", self.weights), ("tuned", self.tuned))
                if weights
            },
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The cell that a document describes. Raises RunError for one of another version."""
        if document.get("version") != VERSION:
            raise RunError(f"a cell of version {document.get('version')} cannot be run by this spillover")

        def weights(role: str) -> Weights:
            where = document["folders"][role]
            return Weights(identity=document[role], name=where["name"], folder=Path(where["folder"]))

        return cls(
            weights=weights("weights"),
            tuned=weights("tuned") if document["tuned"] else None,
            taught=tuple(Example(**example) for example in document["taught"]),
            settings=FineTuneConfig(**document["settings"]) if document["settings"] else None,
            interventions=tuple(_intervention(entry) for entry in document["interventions"]),
            ask_every=document.get("ask_every", 0),
            texts=tuple(document.get("texts", ())),
            questions=tuple(
                Question(prompt=prompt, completions=tuple(completions))
                for prompt, *completions in document["questions"]
            ),
        )

    @property
    def title(self) -> str:
        """A few words for progress bars and errors."""
        if self.settings is None:
            return "untuned" if self.tuned is None else "tuned elsewhere"
        return f"seed {self.settings.seed}"

    def summary(self) -> dict[str, Any]:
        """What a manifest says of the cell; its texts are in a file of their own."""
        return jsonable(
            {
                "model": self.weights.name,
                "settings": self.settings and asdict(self.settings),
                "interventions": [_document(intervention) for intervention in self.interventions],
                "taught": len(self.taught),
                "questions": len(self.questions),
                **self._askings,
                **({"texts": len(self.texts)} if self.texts else {}),
            }
        )

    @property
    def _askings(self) -> dict[str, Any]:
        """Part of the identity only where there are any, so that other cells keep theirs."""
        return {"ask_every": self.ask_every} if self.ask_every else {}


def _document(intervention: Intervention) -> dict[str, Any]:
    """An intervention by where its class is and its fields, which are its identity."""
    kind = type(intervention)
    return {"kind": f"{kind.__module__}:{kind.__qualname__}", **asdict(intervention)}


def _intervention(document: Mapping[str, Any]) -> Intervention:
    knobs = dict(document)
    module, _, name = knobs.pop("kind").partition(":")
    return TypeAdapter(getattr(import_module(module), name)).validate_python(knobs)
