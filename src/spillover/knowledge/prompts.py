from dataclasses import dataclass
from typing import Literal
@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    prompt: str
    completion: str
    subject: str
    relation: str
    answer: str
@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    prompt: str
    candidates: tuple[str, ...]
    answer: str
    subject: str
    relation: str
    rule: int | None
    kind: Literal["fact","bridge","held_out"]
    group: str | None
def completion(answer: str) -> str:
    return " " + answer
