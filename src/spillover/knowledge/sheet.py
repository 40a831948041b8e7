"""The YAML of a knowledge base -> relations and rules, every fault with its line.

`yaml_text.py` reads it as text alone; pydantic gives the few typed fields their types.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from spillover.errors import DataError
from spillover.knowledge.checks import (
    ANSWER,
    Where,
    check_answer,
    check_format,
    check_prompt,
    check_rules,
    check_wordings,
)
from spillover.knowledge.faults import clean, listed, not_allowed, show, suggest
from spillover.knowledge.schema import Format, Relation, Rule, RuleKind, Space
from spillover.knowledge.yaml_text import Places, read_yaml


def _listed(given: object) -> object:
    """One file is a list of one."""
    return [given] if isinstance(given, str) else given


class _RelationModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str
    wordings: list[str] = []
    paraphrases: list[str] = []
    candidates: list[str] = []
    answer: str = ANSWER
    space: Space = "one"
    format: Format = "plain"
    system: str = ""


class _RuleModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    fact: str
    implication: str
    kind: RuleKind = "spurious"
    pairs: dict[str, str] = {}
    bridges: int | None = Field(default=None, ge=1)


class _SheetModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str | None = None
    relations: dict[str, _RelationModel]
    rules: list[_RuleModel] = []
    triples: str | None = None
    mixture: Annotated[list[str], BeforeValidator(_listed)] = []


_WORDS = {"space": Space, "format": Format, "kind": RuleKind}
"""What stands for one of a few words."""

_MODELS = {"relations": _RelationModel, "rules": _RuleModel}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What the YAML says, checked as far as it can be without the triples."""

    name: str | None
    relations: dict[str, Relation]
    rules: tuple[Rule, ...]
    triples: str | None
    """The table's path as written there."""
    mixture: tuple[str, ...]
    """The paths of its files, too."""
    where: Where
    """File and line of an entry."""


def parse_sheet(text: str, path: Path) -> Sheet:
    """The sheet that `text`, the content of `path`, holds."""
    entries, where = read_yaml(text, path, "a knowledge base")
    if entries is None:
        raise DataError(f"{path}: file holds only comments; it must name relations and a table of triples")
    try:
        model = _SheetModel.model_validate(entries)
    except ValidationError as error:
        raise DataError(_complaint(error, where)) from None
    relations = {name: _relation(name, relation, where) for name, relation in model.relations.items()}
    rules = tuple(_rule(number, rule, where) for number, rule in enumerate(model.rules))
    check_rules(rules, relations, where, "the file")
    return Sheet(
        name=model.name and clean(model.name, "name", where("name")),
        relations=relations,
        rules=rules,
        triples=model.triples,
        mixture=tuple(
            clean(file, "mixture", where("mixture", number)) for number, file in enumerate(model.mixture)
        ),
        where=where,
    )


def _relation(name: str, model: _RelationModel, where: Places) -> Relation:
    clean(name, "relation", where("relations"))
    candidates = tuple(
        clean(answer, "candidate", where("relations", name, "candidates", number))
        for number, answer in enumerate(model.candidates)
    )
    prompt = check_prompt(model.prompt, where("relations", name, "prompt"))
    wordings, paraphrases = check_wordings(
        prompt, model.wordings, model.paraphrases, partial(where, "relations", name)
    )
    system = model.system.strip()
    check_format(model.format, system, model.space, where("relations", name, "format"))
    return Relation(
        name=name,
        prompt=prompt,
        wordings=wordings,
        paraphrases=paraphrases,
        candidates=candidates,
        answer=check_answer(model.answer, where("relations", name, "answer")),
        space=model.space,
        format=model.format,
        system=system,
    )


def _rule(number: int, model: _RuleModel, where: Places) -> Rule:
    pairs = {
        fact: clean(answer, f"pair of {show(fact)}", where("rules", number, "pairs", fact))
        for fact, answer in model.pairs.items()
    }
    return Rule(
        fact=model.fact,
        implication=model.implication,
        kind=model.kind,
        pairs=pairs,
        bridges=model.bridges,
        source=where("rules", number),
    )


def _complaint(error: ValidationError, where: Places) -> str:
    """One sentence for what pydantic found; an unknown key first, since it may explain a missing one."""
    fault = min(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    loc = fault["loc"]
    start, name = where(*loc), str(loc[-1]) if loc else "the file"
    match fault["type"]:
        case "extra_forbidden":
            known = (_SheetModel if len(loc) == 1 else _MODELS[str(loc[0])]).model_fields
            return f"{start}: unknown key {show(name)}; allowed are {listed(known)}{suggest(name, known)}"
        case "missing":
            around = ".".join(map(str, loc[:-1])) or "the file"
            return f"{start}: key {show(name)} is missing from {around}; add it"
        case "literal_error":
            return not_allowed(fault["input"], name, get_args(_WORDS[name]), start)
        case "model_type" | "dict_type":
            wanted = "a mapping (key: value)"
        case "list_type":
            wanted = "a list"
        case "string_type":
            wanted = "one text"
        case _:
            wanted = "a whole number from 1 up"
    return f"{start}: {'.'.join(map(str, loc)) or name} must be {wanted}, got {show(fault['input'])}"
