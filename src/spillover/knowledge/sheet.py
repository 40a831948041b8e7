"""The YAML of a knowledge base -> relations and rules, every fault with its line.

YAML is read as text alone: `no`, `7` and `2024-01-01` stay the words they are, and pydantic gives
the few typed fields their types.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spillover.errors import DataError
from spillover.knowledge.checks import Where, check_prompt, check_rules
from spillover.knowledge.faults import clean, listed, not_allowed, place, show, suggest
from spillover.knowledge.schema import Relation, Rule, RuleKind, Space


class _RelationModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str
    candidates: list[str] = []
    space: Space = "one"


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


_MODELS = {"relations": _RelationModel, "rules": _RuleModel}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What the YAML says, checked as far as it can be without the triples."""

    name: str | None
    relations: dict[str, Relation]
    rules: tuple[Rule, ...]
    triples: str | None
    """The table's path as written there."""
    where: Where
    """File and line of an entry."""


def parse_sheet(text: str, path: Path) -> Sheet:
    """The sheet that `text`, the content of `path`, holds."""
    root = _compose(text, path)
    where = _Places(path=path, root=root)
    try:
        model = _SheetModel.model_validate(_plain(root, path, {}))
    except ValidationError as error:
        raise DataError(_complaint(error, where)) from None
    except RecursionError:
        raise DataError(f"{path}: nested too deep; a knowledge base needs four levels") from None
    relations = {name: _relation(name, relation, where) for name, relation in model.relations.items()}
    rules = tuple(_rule(number, rule, where) for number, rule in enumerate(model.rules))
    check_rules(rules, relations, where, "the file")
    return Sheet(
        name=model.name and clean(model.name, "name", where("name")),
        relations=relations,
        rules=rules,
        triples=model.triples,
        where=where,
    )


def _relation(name: str, model: _RelationModel, where: "_Places") -> Relation:
    clean(name, "relation", where("relations"))
    candidates = tuple(
        clean(answer, "candidate", where("relations", name, "candidates", number))
        for number, answer in enumerate(model.candidates)
    )
    prompt = check_prompt(model.prompt, where("relations", name, "prompt"))
    return Relation(name=name, prompt=prompt, candidates=candidates, space=model.space)


def _rule(number: int, model: _RuleModel, where: "_Places") -> Rule:
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


@dataclass(frozen=True, kw_only=True)
class _Places:
    path: Path
    root: yaml.Node

    def __call__(self, *steps: str | int) -> str:
        """File and line of an entry, such as `where("rules", 0, "fact")`, or of the nearest one around it."""
        node = mark = self.root
        for step in steps:
            if isinstance(node, yaml.MappingNode):
                entry = next(((key, value) for key, value in node.value if key.value.strip() == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                entry = (node.value[step], node.value[step])
            else:
                entry = None
            if entry is None:
                break
            mark, node = entry
        return place(self.path, mark.start_mark.line + 1)


def _compose(text: str, path: Path) -> yaml.Node:
    """The document's tree, which knows its lines."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise DataError(
            f"{place(path, line)}: not readable as YAML ({error.problem}); mend the syntax"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DataError(
            f"{place(path, line)}: character {show(chr(error.character))} is not allowed in YAML; remove it"
        ) from None
    except RecursionError:
        raise DataError(f"{path}: nested too deep; a knowledge base needs four levels") from None
    if root is None:
        raise DataError(f"{path}: file holds only comments; it must name relations and a table of triples")
    return root


def _plain(node: yaml.Node, path: Path, done: dict[int, Any]) -> Any:
    """The node as dicts, lists and strings; a node reached by many aliases is built once."""
    if id(node) in done:
        return done[id(node)]
    if isinstance(node, yaml.MappingNode):
        plain: Any = {}
        for key, value in node.value:
            where = place(path, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise DataError(f"{where}: a list or mapping is used as a key; use a word")
            name = key.value.strip()
            if name in plain:
                raise DataError(f"{where}: key {show(name)} stands there twice; keep one")
            plain[name] = _plain(value, path, done)
    elif isinstance(node, yaml.SequenceNode):
        plain = [_plain(value, path, done) for value in node.value]
    else:
        plain = node.value.strip()
    done[id(node)] = plain
    return plain


def _complaint(error: ValidationError, where: _Places) -> str:
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
            return not_allowed(fault["input"], name, get_args(Space if name == "space" else RuleKind), start)
        case "model_type" | "dict_type":
            wanted = "a mapping (key: value)"
        case "list_type":
            wanted = "a list"
        case "string_type":
            wanted = "one text"
        case _:
            wanted = "a whole number from 1 up"
    return f"{start}: {'.'.join(map(str, loc)) or name} must be {wanted}, got {show(fault['input'])}"
