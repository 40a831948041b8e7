"""Records that people fine-tune on -> templates that find facts in them, for people to look at.

What varies in the questions of a wording is the subject, what varies in its answers is the answer. Wordings
that share subjects belong together; those whose answers are the same ones, and for the same subjects, are
one relation.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from statistics import median

from scipy.cluster.hierarchy import DisjointSet

from spillover.knowledge.checks import ANSWER, SUBJECT
from spillover.knowledge.templates import Template
from spillover.knowledge.wordings import Frame, common_frame, find_frames, words_of

_WORDS = 8  # of an answer that is a fact and no text
_SURE = 0.9  # of subjects that have one answer to a relation
_MOST = 0.8  # of answers that the sentences around them must cover
_ALIKE = 0.5  # of answers that two wordings of a relation share
_TIED = 0.2  # of subjects that wordings which belong together share
_MANY = 300  # wordings that are compared
_NAME = 3  # words of a relation's name
_COMMON = frozenset(
    words_of(
        "a an and any are as at be been by can did do does for from give had has have he her his how i if in "
        "is it its kind me my name of on or please s she so sort tell that the their them they this to type "
        "us was we were what when where which who whom whose will with would you your"
    )
)
"""Words that name no relation."""

_BEHIND = frozenset(words_of("as at by from in of on to with"))
"""Words that belong to a name where they end a wording: lives in."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A wording of a relation, and what it was found to say."""

    frame: Frame
    """Of the question."""
    answer: Frame
    facts: Mapping[str, str]
    """subject -> answer; the first where there are several."""
    records: int

    def template(self, relation: str) -> Template:
        """The wording as a template of that relation."""
        return Template(
            relation=relation,
            prompt=f"{self.frame.before}{SUBJECT}{self.frame.after}",
            answer=f"{self.answer.before}{ANSWER}{self.answer.after}",
        )


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """A wording that recurs and is not proposed."""

    wording: str
    records: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """Relations by a proposed name, each with its wordings, the most frequent first; and what is none."""

    relations: Mapping[str, Sequence[Wording]]
    passed_over: Sequence[PassedOver]


def suggest(exchanges: Iterable[tuple[str, str]]) -> Suggestions:
    """Propose relations and their wordings from what is asked and answered; the same for the same exchanges.

    A wording is proposed if its answers are short, at least two, and one for each subject. If any wordings
    share their subjects only such are proposed, else those of which some subjects share an answer.
    """
    answers: dict[str, list[str]] = {}
    for asked, answered in exchanges:
        answers.setdefault(asked.strip(), []).append(answered.strip())
    questions = list(answers)
    frames = find_frames(questions, [answers[question][0] for question in questions])
    found, passed_over = list[Wording](), list[PassedOver]()
    for frame, numbers in frames.items():
        said = [
            (subject, answer)
            for number in numbers
            if (subject := frame.filling(questions[number]))
            for answer in answers[questions[number]]
        ]
        wordings, why = _wordings(frame, said)
        found += wordings
        if why:
            passed_over.append(_passed(frame, len(said), why))
    found.sort(key=lambda each: -each.records)
    passed_over += [_passed(each.frame, each.records, "others are more frequent") for each in found[_MANY:]]
    relations = _relations(found[:_MANY])
    tied = _tied(relations)
    lone = "its subjects occur in no other wording, or have each their own answer"
    passed_over += [
        _passed(each.frame, each.records, lone) for its in relations if its not in tied for each in its
    ]
    kept = _clear(tied, answers)
    vague = "it finds something else in records that a closer wording fits"
    passed_over += [
        _passed(each.frame, each.records, vague)
        for its, clear in zip(tied, kept, strict=True)
        for each in its
        if each not in clear
    ]
    return Suggestions(
        relations=_named([its for its in kept if its]),
        passed_over=sorted(passed_over, key=lambda each: (-each.records, each.wording)),
    )


def _passed(frame: Frame, records: int, why: str) -> PassedOver:
    return PassedOver(wording=f"{frame.before}{SUBJECT}{frame.after}", records=records, why=why)


def _wordings(frame: Frame, said: Sequence[tuple[str, str]]) -> tuple[list[Wording], str]:
    """A question's wordings by the sentences that it is answered in; else why there are none."""
    if "=>" in frame.before + frame.after or not _is_plain(frame):
        return [], "it has braces, => or line breaks, which a template cannot have"
    plain = [(subject, answer) for subject, answer in said if not _names(answer, subject)]
    if len(plain) < _ALIKE * len(said):
        return [], "its answers repeat the subject, which a template cannot say"
    wordings, taken, why = list[Wording](), set[int](), ""
    for answer in _sentences(Counter(answer for _, answer in plain)):
        facts, records, more = dict[str, str](), 0, Counter[str]()
        for number, (subject, text) in enumerate(plain):
            if number not in taken and (value := answer.filling(text)):
                taken.add(number)
                records += 1
                if facts.setdefault(subject, value) != value:
                    more[subject] += 1
        if len(more) > (1 - _SURE) * len(facts):
            why = "its subjects have several answers"
        elif len({*facts.values()}) < 2:
            why = "it is always answered alike"
        elif not _is_plain(answer):
            why = "its answers have braces or line breaks around them, which a template cannot have"
        elif median(len(words_of(value)) for value in facts.values()) > _WORDS:
            why = "its answers are texts"
        else:
            wordings.append(Wording(frame=frame, answer=answer, facts=facts, records=records))
            continue
    return wordings, "" if wordings else why


def _is_plain(frame: Frame) -> bool:
    """Whether a template can say it, in one line."""
    around = f"{frame.before} {frame.after}"
    return "{" not in around and "}" not in around and len(f"{around}.".splitlines()) == 1


def _names(answer: str, subject: str) -> bool:
    """Whether an answer names the subject, in whole words."""
    if subject not in answer:
        return False
    said, name = (" ".join(words_of(text)) for text in (answer, subject))
    return f" {name} " in f" {said} "


def _sentences(answers: Counter[str]) -> list[Frame]:
    """What stands around the answers, if the same sentences stand around most of them; else nothing."""
    words = {answer: words_of(answer) for answer in answers}
    for first, last in ((True, True), (True, False), (False, True)):
        alike = defaultdict[tuple[str, str], list[str]](list)
        for answer, its in words.items():
            if its:
                alike[its[0] if first else "", its[-1] if last else ""].append(answer)
        frames = {common_frame(texts): texts for texts in alike.values() if len(texts) > 1}
        frames.pop(Frame(before="", after=""), None)
        covered = sum(answers[text] for texts in frames.values() for text in texts)
        if frames and covered >= _MOST * answers.total():
            return sorted(frames, key=lambda frame: (-sum(answers[text] for text in frames[frame]), frame))
    return [Frame(before="", after="")]


def _tied(relations: Sequence[Sequence[Wording]]) -> list[Sequence[Wording]]:
    """Those that can be facts of a knowledge base: rules run through shared subjects and through groups."""
    relation_of = [number for number, its in enumerate(relations) for _ in its]
    wordings = [each for its in relations for each in its]
    grouped = {number for number, its in enumerate(relations) if _is_grouped(its)}
    parties, tied = DisjointSet(range(len(relations))), set[int]()
    for pair, shared in _shared(wordings).items():
        if shared >= _TIED * min(len(wordings[number].facts) for number in pair):
            one, other = (relation_of[number] for number in pair)
            parties.merge(one, other)
            tied |= {one, other}
    kept = {
        number
        for party in parties.subsets()
        if not party.isdisjoint(tied) and not party.isdisjoint(grouped)
        for number in party
    }
    return [relations[number] for number in sorted(kept or grouped)]


def _is_grouped(relation: Sequence[Wording]) -> bool:
    """Whether subjects share answers: one has two subjects or more, in the mean."""
    facts = {subject: answer for each in relation for subject, answer in each.facts.items()}
    return 2 * len({*facts.values()}) <= len(facts)


def _relations(wordings: Sequence[Wording]) -> list[list[Wording]]:
    """The wordings by relation, the most frequent first."""
    shared = _shared(wordings)

    def agree(pair: tuple[int, int]) -> bool:
        one, other = (wordings[number].facts for number in pair)
        same = sum(other.get(subject) == answer for subject, answer in one.items())
        return same >= _SURE * shared.get(pair, 0)

    def alike(pair: tuple[int, int]) -> float:
        one, other = ({*wordings[number].facts.values()} for number in pair)
        return len(one & other) / min(len(one), len(other))

    pairs = [
        (-shared.get(pair, 0), -alike(pair), pair)
        for pair in combinations(range(len(wordings)), 2)
        if alike(pair) >= _ALIKE
    ]
    same = DisjointSet(range(len(wordings)))
    for _, _, (one, other) in sorted(pairs):
        if all(agree((min(a, b), max(a, b))) for a in same.subset(one) for b in same.subset(other)):
            same.merge(one, other)
    found = [
        sorted((wordings[number] for number in numbers), key=lambda each: (-each.records, each.frame))
        for numbers in same.subsets()
    ]
    return sorted(found, key=lambda its: (-sum(each.records for each in its), its[0].frame))


def _shared(wordings: Sequence[Wording]) -> Counter[tuple[int, int]]:
    """How many subjects two wordings share, by their numbers, the lower first."""
    holders = defaultdict[str, list[int]](list)
    for number, each in enumerate(wordings):
        for subject in each.facts:
            holders[subject].append(number)
    return Counter(pair for numbers in holders.values() for pair in combinations(numbers, 2))


def _clear(
    relations: Sequence[Sequence[Wording]], answers: Mapping[str, Sequence[str]]
) -> list[Sequence[Wording]]:
    """Without the wordings that find something else in a record than a closer one: an import refuses that."""
    wordings = sorted(
        ((number, each) for number, its in enumerate(relations) for each in its),
        key=lambda pair: -sum(map(len, (*_around(pair[1].frame), *_around(pair[1].answer)))),
    )
    vague = set[int]()
    for question, said in answers.items():
        subjects = {at: each.frame.filling(question) for at, (_, each) in enumerate(wordings)}
        fitting = [at for at, subject in subjects.items() if subject]
        for answer in said if len(fitting) > 1 else ():
            facts = {
                at: (wordings[at][0], subjects[at], value)
                for at in fitting
                if (value := wordings[at][1].answer.filling(answer))
            }
            vague |= {at for at, fact in facts.items() if fact != next(iter(facts.values()))}
    left_out = [wordings[at][1] for at in vague]
    return [[each for each in its if each not in left_out] for its in relations]


def _around(frame: Frame) -> tuple[str, str]:
    return frame.before, frame.after


def _named(relations: Sequence[Sequence[Wording]]) -> dict[str, Sequence[Wording]]:
    """The relations by names made of the words of their most frequent wordings."""
    named: dict[str, Sequence[Wording]] = {}
    for wordings in relations:
        frame = wordings[0].frame
        named[name_of(f"{frame.before}{SUBJECT}{frame.after}", named)] = wordings
    return named


def name_of(prompt: str, taken: Collection[str]) -> str:
    """A name for a relation, of the words of its prompt; with a number where it is taken."""
    words = [word.lower() for word in words_of(prompt.replace(SUBJECT, " ")) if word[0].isalnum()]
    telling = [word for word in words if word not in _COMMON][:_NAME]
    behind = words[-1:] if words and words[-1] in _BEHIND else []
    name = "_".join([*telling, *behind]) or "relation"
    numbers = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(each for each in numbers if each not in taken)
