"""What must hold for the parts of a knowledge base, whether they were read from files or made in code.

Every check raises DataError of one line that begins with the place: file and line, or the part's name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from spillover.errors import DataError
from spillover.knowledge.faults import (
    clean,
    contradiction,
    duplicate,
    listed,
    not_allowed,
    show,
    suggest,
    unknown_relation,
)

if TYPE_CHECKING:
    from spillover.knowledge.schema import Relation, Rule, Triple

SUBJECT = "{subject}"
"""Stands for the subject in a prompt."""

ANSWER = "{answer}"
"""Stands for the answer in what the model writes."""

Where = Callable[..., str]
"""The place of an entry, such as `where("rules", 0, "fact")`."""


def check_text(text: object, what: str, where: str) -> None:
    """DataError unless it is a text as `clean` leaves it."""
    if not isinstance(text, str):
        raise DataError(f"{where}: {what} is {show(text)}, it must be text; write it in quotes")
    if clean(text, what, where) != text:
        raise DataError(f"{where}: {what} {show(text)} has white space at its ends; remove it")


def check_word(word: object, what: str, allowed: Collection[str], where: str) -> None:
    """DataError unless it is one of the allowed words."""
    if word not in allowed:
        raise DataError(not_allowed(word, what, allowed, where))


def check_prompt(prompt: str, where: str, what: str = "prompt") -> str:
    """The prompt without spaces at its end; DataError unless `{subject}` is its one placeholder."""
    clean(prompt, what, where)
    prompt = prompt.rstrip()
    if SUBJECT not in prompt:
        raise DataError(
            f"{where}: {what} {show(prompt)} has no {SUBJECT}; write {SUBJECT} where the name goes"
        )
    rest = prompt.replace(SUBJECT, "")
    if "{" in rest or "}" in rest:
        raise DataError(
            f"{where}: {what} {show(prompt)} has other braces than {SUBJECT}, which alone is filled in; "
            "remove them"
        )
    return prompt


def check_answer(answer: str, where: str) -> str:
    """What the model writes, without spaces at its ends; DataError unless it has one `{answer}` alone."""
    answer = clean(answer, "answer", where)
    rest = answer.replace(ANSWER, "", 1)
    if rest == answer or "{" in rest or "}" in rest:
        raise DataError(
            f"{where}: answer {show(answer)} must have {ANSWER} in it, once, and no other braces; "
            f"write it as in 'The language is {ANSWER}.'"
        )
    return answer


def check_format(format: str, system: str, space: str, where: str) -> None:
    """DataError for a system turn that is no text, or that plain text cannot have, or a space that a chat
    cannot."""
    if system:
        check_text(system, "system", where)
    if format == "plain" and system:
        raise DataError(f"{where}: plain text has no system turn; set format: chat, or leave system out")
    if format == "chat" and space == "none":
        raise DataError(f"{where}: a chat has turns and no space between them; leave space out")


def check_wordings(
    prompt: str, wordings: Iterable[str], paraphrases: Iterable[str], where: Where
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(wordings, paraphrases) without spaces at their ends; DataError unless each is a prompt, and a new one.

    `where` is called as of a relation, with `"wordings", 0`.
    """
    known, checked = {prompt}, list[tuple[str, ...]]()
    for what, texts in (("wording", wordings), ("paraphrase", paraphrases)):
        sound = list[str]()
        for number, text in enumerate(texts):
            place = where(f"{what}s", number)
            text = check_prompt(text, place, what)
            if text in known:
                raise DataError(
                    f"{place}: {what} {show(text)} is the prompt or an earlier wording of it; "
                    "word it otherwise"
                )
            known.add(text)
            sound.append(text)
        checked.append(tuple(sound))
    return checked[0], checked[1]


def check_rules(
    rules: Iterable["Rule"], relations: Mapping[str, "Relation"], where: Where, owner: str
) -> None:
    """DataError for a rule about relations that its owner does not have, or that stands there twice."""
    first: dict[tuple[str, str], int] = {}
    for number, rule in enumerate(rules):
        for role, name in (("fact", rule.fact), ("implication", rule.implication)):
            if name not in relations:
                raise DataError(
                    f"{where('rules', number, role)}: {role} {show(name)} of the rule is not a relation "
                    f"of {owner}, which has {listed(relations)}{suggest(name, relations)}"
                )
        before = first.setdefault((rule.fact, rule.implication), number)
        if before != number:
            raise DataError(
                f"{where('rules', number)}: rule {rule.name} stands there twice, "
                f"first at {where('rules', before)}; remove one"
            )


def check_pairs(rules: Collection["Rule"], answers: Mapping[str, Iterable[str]], where: Where) -> None:
    """A pair for an answer that the fact never has would silently do nothing: DataError.

    `answers` are those of the triples, by relation. A rule that draws its bridges gives its implication
    the answers of its pairs, too.
    """
    drawn: dict[str, dict[str, None]] = {}
    for rule in rules:
        if rule.bridges is not None:
            drawn.setdefault(rule.implication, {}).update(dict.fromkeys(rule.pairs.values()))
    for number, rule in enumerate(rules):
        if not rule.pairs:
            continue
        known = dict.fromkeys((*answers.get(rule.fact, ()), *drawn.get(rule.fact, ())))
        for fact in rule.pairs:
            if fact not in known:
                raise DataError(
                    f"{where('rules', number, 'pairs', fact)}: no triple of {rule.fact} has the answer "
                    f"{show(fact)} of this pair, only {listed(map(show, known))}{suggest(fact, known)}"
                )


def each_once(
    numbered: Iterable[tuple[int, "Triple"]],
    relations: Collection[str] | None,
    where: Callable[[int], str],
    owner: object,
) -> Iterator["Triple"]:
    """The triples, as long as their relations are among the owner's (None: any) and each is answered once."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for number, triple in numbered:
        subject, relation = triple.subject, triple.relation
        if relations is not None and relation not in relations:
            raise DataError(unknown_relation(relation, relations, where(number), owner))
        first, answer = seen.setdefault((subject, relation), (number, triple.answer))
        if first != number:
            places = where(number), where(first)
            if answer == triple.answer:
                raise DataError(duplicate(subject, relation, *places))
            raise DataError(f"{contradiction(subject, relation, (answer, triple.answer), *places)}; keep one")
        yield triple
