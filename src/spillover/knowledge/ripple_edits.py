"""RippleEdits (Cohen et al. 2024, `popular.json`, `random.json`, `recent.json`) -> edits and what follows
from them.

A record has an `edit` with `prompt` (the new fact as a sentence), `subject_id`, `relation` and `target_id`,
and groups of tests; a test has `test_queries` and `condition_queries` with `prompt`, `answers` (`value`,
`aliases`), `query_type`, `subject_id`, `relation`, `target_ids`. Names of subjects stand in prompts alone:
they are what varies in the prompts of a relation. What is asked of the edited subject itself in
Compositionality_I and Logical_Generalization follows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spillover.knowledge.checks import SUBJECT
from spillover.knowledge.edits import Answer, Edit, Implied, worded
from spillover.knowledge.faults import clean
from spillover.knowledge.fields import Entry, entries_of, entry_of, text_of, texts_of
from spillover.knowledge.wordings import Frame, common_frame, find_frames, words_of

_FOLLOWS = ("Compositionality_I", "Logical_Generalization")
_BEFORE = ("original_fact", "previous_fact")
"""What was true before the edit, as the file or its description calls it."""

_Entries = Sequence[tuple[str, Entry]]


@dataclass(kw_only=True)
class _Seen:
    """What all records together say of names."""

    labels: dict[str, Answer] = field(default_factory=dict)
    """Of things that are an answer somewhere, by their id."""
    asked: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """relation -> subject_id -> a prompt of it in the relation's own words."""


def ripple_edits(entries: _Entries) -> tuple[list[Edit], list[Implied], list[str]]:
    """The edits, what follows from them, and what of the file is neither."""
    seen, edits, implied, beside = _Seen(), list[Edit](), list[Implied](), Counter[str]()
    for place, entry in entries:
        _look(entry, place, seen)
    frames = _frames(seen.asked)
    unnamed = 0
    for place, entry in entries:
        edit = _edit(entry_of(entry, "edit", place), place, seen, frames)
        unnamed += edit is None
        for group, query in _queries(entry, place, "test_queries"):
            found = edit and group in _FOLLOWS and _implied(entry["edit"], edit, query, place)
            if found:
                implied.append(found)
            else:
                beside[group] += 1
        if edit:
            edits.append(edit)
    notes = [
        f"{count} queries of {group} are left out: of other subjects or names, or of what stays"
        for group, count in beside.items()
    ]
    if unnamed:
        notes.append(
            f"{unnamed} records are left out: the prompt does not tell subject and answer apart, or is "
            "worded otherwise than most of its relation"
        )
    return edits, implied, notes


def _queries(entry: Entry, place: str, *kinds: str) -> Iterator[tuple[str, Entry]]:
    """Every query with the group of its test."""
    for group, tests in entry.items():
        if isinstance(tests, list):
            for test in entries_of(entry, group, place):
                for kind in kinds:
                    yield from ((group, query) for query in entries_of(test, kind, f"{place}: {group}"))


def _look(entry: Entry, place: str, seen: _Seen) -> None:
    """Remember the names and prompts of a record."""
    for group, query in _queries(entry, place, "test_queries", "condition_queries"):
        where = f"{place}: {group}"
        answers = _answers(query, where)
        two_hop = query.get("query_type") == "two_hop"
        ids = texts_of(query, "second_hop_target_ids" if two_hop else "target_ids", where)
        if len(ids) == len(answers):
            for identity, answer in zip(ids, answers, strict=True):
                seen.labels.setdefault(identity, answer)
        if not two_hop and not query.get("phrase"):
            prompts = seen.asked[text_of(query, "relation", where)]
            prompts.setdefault(text_of(query, "subject_id", where), text_of(query, "prompt", where))
    edit = entry_of(entry, "edit", place)
    prompt = _question(edit, place, seen)
    if prompt:
        seen.asked[text_of(edit, "relation", place)].setdefault(text_of(edit, "subject_id", place), prompt)


def _answers(query: Entry, where: str) -> list[Answer]:
    return [
        Answer(text=text_of(each, "value", where), aliases=texts_of(each, "aliases", where))
        for each in entries_of(query, "answers", where)
    ]


def _question(edit: Entry, place: str, seen: _Seen) -> str:
    """The edit's prompt without its answer; empty where that is not known."""
    said = _sentence(edit, place)
    target = seen.labels.get(text_of(edit, "target_id", place))
    if target and said.endswith(f" {target.text}"):
        return said.removesuffix(f" {target.text}")
    before = next((edit[name] for name in _BEFORE if isinstance(edit.get(name), dict)), None)
    if before is None:
        return ""
    return common_frame([said, _sentence(before, place)]).before.rstrip()


def _sentence(fact: Entry, place: str) -> str:
    """What a fact's prompt says, without the full stop."""
    return clean(text_of(fact, "prompt", place).rstrip("."), "prompt", place)


def _frames(asked: Mapping[str, Mapping[str, str]]) -> dict[str, Frame]:
    """What stands around the subject in each relation's prompts, or in most of them."""
    frames, names = dict[str, Frame](), dict[str, str]()
    for relation, prompts in asked.items():
        alike = _worded_alike(sorted({*prompts.values()}))
        if len(alike) > 1 and (frame := common_frame(alike)) != Frame(before="", after=""):
            frames[relation] = frame
            names |= {subject: name for subject, prompt in prompts.items() if (name := frame.filling(prompt))}
    for relation, prompts in asked.items():
        if relation not in frames:
            ((subject, prompt), *_) = prompts.items()
            name = names.get(subject) or _shared_name(
                [its[subject] for its in asked.values() if subject in its]
            )
            if name and name in prompt:
                before, _, after = prompt.partition(name)
                frames[relation] = Frame(before=before, after=after)
    return frames


def _worded_alike(prompts: Sequence[str]) -> Sequence[str]:
    """Of a relation's prompts those in the wording that most have; all where none recurs."""
    wordings = [
        [prompt for prompt in prompts if frame.filling(prompt)]
        for frame in find_frames(prompts, [""] * len(prompts))
    ]
    return max(wordings, key=len, default=prompts)


def _shared_name(prompts: Sequence[str]) -> str:
    """What a subject's prompts share, from the first word with a capital to the last; empty of one prompt."""
    if len({*prompts}) < 2:
        return ""
    words = words_of(min(prompts, key=len))
    runs = [" ".join(words[start:end]) for start in range(len(words)) for end in range(len(words), start, -1)]
    whole = [run for run in runs if all(f" {run} " in f" {' '.join(words_of(text))} " for text in prompts)]
    names = [run for run in whole if run[0].isupper() and run.split()[-1][0].isupper()]
    return max(names, key=len, default="")


def _edit(edit: Entry, place: str, seen: _Seen, frames: Mapping[str, Frame]) -> Edit | None:
    relation, target = text_of(edit, "relation", place), text_of(edit, "target_id", place)
    frame, said = frames.get(relation), _sentence(edit, place)
    if frame is None or not said.startswith(frame.before):
        return None
    subject = frame.filling(_question(edit, place, seen))
    if subject is None:  # the answer is named nowhere else
        subject, _, answer = said.removeprefix(frame.before).partition(f"{frame.after} ")
    else:
        answer = said.removeprefix(f"{frame.before}{subject}{frame.after}").strip()
    if not subject or not answer:
        return None
    known = seen.labels.get(target)
    return Edit(
        subject=subject,
        relation=relation,
        wording=f"{frame.before}{SUBJECT}{frame.after}",
        answer=Answer(text=answer, identity=target, aliases=known.aliases if known else ()),
    )


def _implied(entry: Entry, edit: Edit, query: Entry, place: str) -> Implied | None:
    """What a query asks of the edited subject beyond the edit; None of another query."""
    answers = _answers(query, place)
    if query.get("subject_id") != entry["subject_id"] or not answers:
        return None
    relation = text_of(query, "relation", place)
    prompt = text_of(query, "prompt", place)
    if query.get("query_type") == "two_hop":
        if relation != edit.relation or entry["target_id"] not in texts_of(query, "target_ids", place):
            return None
        name = f"{text_of(query, 'second_relation', place)} of {relation}"
    elif relation != edit.relation:
        name = f"{relation} after {edit.relation}"
    else:
        return None
    return Implied(
        fact=edit.relation,
        subject=edit.subject,
        relation=name,
        wording=worded(prompt, edit.subject),
        answer=answers[0],
    )
