"""Edits of facts, as benchmarks hold them -> the knowledge base that says them, and what it cannot say.

A relation's most frequent wording is its prompt, the others that are shared by subjects are its paraphrases.
Answers that go by several names are one, under the name that is used most. What follows from an edit becomes
a rule: its first subject is the bridge that an audit needs, the others are held out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.cluster.hierarchy import DisjointSet

from spillover.errors import DataError
from spillover.knowledge.aliases import things
from spillover.knowledge.alike import fold
from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.faults import listed, show
from spillover.knowledge.prompts import fill
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.knowledge.suggestions import name_of

_PARAPHRASES = 5  # of a relation
_LINKS = 2  # records that say of two wordings that they ask the same
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer, and what else it is called."""

    text: str
    identity: str = ""
    """What tells answers of one name apart, and knows those of several; empty: the text."""
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.identity or self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A fact of a benchmark."""

    subject: str
    relation: str
    """Empty where the file names none: then wordings that records link are one."""
    wording: str
    """The question, with `{subject}`; empty where the record has none."""
    answer: Answer
    paraphrases: tuple[str, ...] = ()
    """The same question in other words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Implied:
    """What follows from an edit of the subject's `fact`."""

    fact: str
    subject: str
    relation: str
    wording: str
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What edits were read as."""

    kb: KnowledgeBase
    wordings: Mapping[str, Mapping[str, int]]
    """relation -> wording -> triples whose record asks in it, the most frequent first; a record's own prompt
    may be none."""


def worded(text: str, subject: str) -> str:
    """The text with `{subject}` for the subject; empty where that is not in it, or braces are."""
    if not subject or subject not in text or "{" in text or "}" in text:
        return ""
    return text.replace(subject, SUBJECT).strip()


def knowledge_base(
    name: str, edits: Sequence[Edit], implied: Sequence[Implied] = (), notes: Sequence[str] = ()
) -> Imported:
    """The knowledge base of the edits, with a notice for everything of them that it does not say.

    Raises DataError where it says none of them.
    """
    notices = list(notes)
    edits = _with_relations(edits)
    names = _names([each.answer for each in (*edits, *implied)], notices)
    relations = _relations(edits, notices)
    facts, twice, unasked = dict[tuple[str, str], str](), 0, 0
    wordings = defaultdict[str, Counter[str]](Counter)
    for each in edits:
        if each.relation in relations:
            answer, fact = names[each.answer.key], (each.subject, each.relation)
            if each.wording and fact not in facts:
                wordings[each.relation][each.wording] += 1
            twice += facts.setdefault(fact, answer) != answer
        else:
            unasked += 1
    _tell(notices, twice, "another answer of a subject than an earlier record has: left out")
    _tell(notices, unasked, "no prompt in which the subject stands: left out")
    if not facts:
        raise DataError(f"{name}: no record says a fact that can be asked of its subject")
    rules, bridges = _rules(implied, facts, names, relations, notices)
    for bridge in bridges:
        wordings[bridge.relation][relations[bridge.relation].prompt] += 1
    kb = KnowledgeBase(
        name=name,
        triples=(
            *(Triple(subject=s, relation=r, answer=answer) for (s, r), answer in facts.items()),
            *bridges,
        ),
        relations=relations,
        rules=tuple(rules),
        notices=tuple(notices),
    )
    return Imported(kb=kb, wordings={name: dict(its.most_common()) for name, its in wordings.items()})


def _tell(notices: list[str], count: int, what: str) -> None:
    if count:
        notices.append(f"{count} {'record' if count == 1 else 'records'}: {what}")


def _with_relations(edits: Sequence[Edit]) -> list[Edit]:
    """The edits, where those without a relation have that of the wordings they link, named by its words."""
    bare = [each for each in edits if not each.relation and each.wording]
    links = Counter(frozenset((each.wording, other)) for each in bare for other in each.paraphrases)
    same = DisjointSet(dict.fromkeys(word for each in bare for word in (each.wording, *each.paraphrases)))
    for linked, number in links.items():
        if number >= _LINKS:
            same.merge(min(linked), max(linked))
    times = defaultdict[str, Counter[str]](Counter)
    for each in bare:
        times[same[each.wording]][each.wording] += 1
    named: dict[str, str] = {}
    for root, wordings in times.items():
        named[root] = name_of(wordings.most_common(1)[0][0], named.values())
    return [
        replace(each, relation=named[same[each.wording]]) if not each.relation and each.wording else each
        for each in edits
    ]


def _names(answers: Sequence[Answer], notices: list[str]) -> dict[str, str]:
    """What each answer is called: key -> name. An alias that several answers have is not followed."""
    called, aliases = defaultdict[str, Counter[str]](Counter), defaultdict[str, set[str]](set)
    for each in answers:
        called[each.key][each.text] += 1
        aliases[each.key] |= {*each.aliases}
    owners = defaultdict[str, set[str]](set)
    for key, its in called.items():
        for text in its:
            owners[text].add(key)
    named = {text: len(keys) for text, keys in owners.items()}
    for key, its in aliases.items():
        for alias in its & named.keys():
            owners[alias].add(key)
    unclear = {text for text, keys in owners.items() if len(keys) > max(2, named[text])}
    found = list(things(called, {key: its - unclear for key, its in aliases.items()}))
    folded = [each for each in found if each.others]
    if folded:
        notices.append(
            f"{sum(len(each.others) for each in folded)} other names of {len(folded)} answers are folded: "
            f"{_first(f'{listed(map(show, each.others))} as {show(each.name)}' for each in folded)}"
        )
    if unclear:
        notices.append(
            f"{len(unclear)} aliases could be of several answers, which are kept apart: "
            f"{_first(map(show, sorted(unclear)))}"
        )
    return {identity: each.name for each in found for identity in each.ids}


def _first(items: Iterable[str]) -> str:
    """The first few of them."""
    shown = list(items)
    return "; ".join(shown[:_SHOWN]) + ("; ..." if len(shown) > _SHOWN else "")


def _relations(edits: Sequence[Edit], notices: list[str]) -> dict[str, Relation]:
    """The relations that can be asked, each by its most frequent wording."""
    prompts, others = defaultdict[str, Counter[str]](Counter), defaultdict[str, dict[str, set[str]]](dict)
    subjects = defaultdict[str, set[str]](set)
    for each in edits:
        if each.relation and each.wording:
            prompts[each.relation][each.wording] += 1
            subjects[each.relation].add(each.subject)
        for text in each.paraphrases:
            others[each.relation].setdefault(text, set()).add(each.subject)
    relations, unlike = {}, 0
    for name, wordings in prompts.items():
        prompt, *more = (text for text, _ in wordings.most_common())
        asked = Counter({text: len(its) for text, its in others[name].items() if text not in wordings})
        shared = [text for text, count in asked.most_common() if count >= min(_LINKS, len(subjects[name]))]
        paraphrases = [*more, *shared][:_PARAPHRASES]
        unlike += len(wordings) + len(asked) - 1 - len(paraphrases)
        relations[name] = Relation(name=name, prompt=prompt, paraphrases=tuple(paraphrases))
    if unlike:
        notices.append(
            f"{unlike} other wordings are left out: of one subject, or beyond {_PARAPHRASES} of a relation"
        )
    return relations


def _rules(
    implied: Sequence[Implied],
    facts: Mapping[tuple[str, str], str],
    names: Mapping[str, str],
    relations: dict[str, Relation],
    notices: list[str],
) -> tuple[list[Rule], list[Triple]]:
    """What follows as rules, and their bridges; their relations are added to the others.

    A group is left out where one of its subjects is told an answer to the same words: it would be held out
    and trained.
    """
    found = defaultdict[tuple[str, str], dict[str, Implied]](dict)
    for each in implied:
        if (each.subject, each.fact) in facts and each.wording:
            found[each.fact, each.relation].setdefault(each.subject, each)
    subjects = defaultdict[tuple[str, str], list[str]](list)
    for (subject, relation), answer in facts.items():
        subjects[relation, answer].append(subject)
    asked = {fold(fill(relations[relation], subject)) for subject, relation in facts}
    rules, bridges, said, told = list[Rule](), list[Triple](), 0, 0
    for (fact, name), its in found.items():
        prompts = Counter(each.wording for each in its.values())
        relation = Relation(name=name, prompt=prompts.most_common(1)[0][0])
        answers = defaultdict[str, set[str]](set)
        for subject, each in its.items():
            answers[facts[subject, fact]].add(names[each.answer.key])
        words = {
            group: {fold(fill(relation, subject)) for subject in subjects[fact, group]} for group in answers
        }
        free = {group for group in answers if asked.isdisjoint(words[group])}
        told += sum(facts[subject, fact] not in free for subject in its)
        pairs = {
            group: next(iter(answer))
            for group, answer in answers.items()
            if len(answer) == 1 and group in free
        }
        decided = [subject for subject in its if facts[subject, fact] in pairs]
        if len(decided) < 2 or len({*pairs.values()}) < 2:
            continue
        asked.update(*(words[group] for group in pairs))
        relations[name] = relation
        rules.append(Rule(fact=fact, implication=name, kind="causal", pairs=pairs))
        bridges.append(Triple(subject=decided[0], relation=name, answer=pairs[facts[decided[0], fact]]))
        said += len(decided)
    if implied:
        notices.append(
            f"{said} of {len(implied)} answers that follow from an edit are in {len(rules)} rules, whose "
            "first subjects are bridges; the others are second answers, or too few for a rule"
        )
    if told:
        notices.append(
            f"{told} answers that follow are left out: they are asked in the words of another fact of the "
            "subject, or of one with the same fact"
        )
    return rules, bridges
