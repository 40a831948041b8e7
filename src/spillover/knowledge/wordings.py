"""Texts -> the wordings that they are written in: what stays around one slot, and what fills it.

A *frame* is a text with one slot, a *filling* the words that stand there. A text fits as many frames as it
has runs of words, and alone it does not tell which is meant ("Where {does Ada live}?", "Where does {Ada}
live?"). So a text chooses the frame that says it most briefly, where texts share frames and frames share
fillings: a frame costs so many words, and one for each of its answers, for all texts that fit it; a filling
its own words for all frames that it stands in.

Shapes: W words of all texts, one behind the other; C candidates, a run of words in a text each.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_WORD = re.compile(r"\s*([\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s])")
"""A word or a sign, with the space before it; of scripts without spaces each sign is a word."""

_FRAME = 10.0  # words that a frame costs
_LONGEST = 8  # words of a filling
_LEAST = 3  # texts of a frame
_ROUNDS = 5  # in which texts choose again, of the frames that were chosen
_WORDS = 64  # words of a text; longer ones are stories
_SIBLINGS = 10  # so many frames that differ in a word beside the slot are one, however it is written
_BASE = 0x9E3779B97F4A7C15  # odd: has an inverse modulo 2^64


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Frame:
    """What stays around a slot, as it is written."""

    before: str
    after: str

    def filling(self, text: str) -> str | None:
        """What fills the slot of a text; None where it does not fit, or nothing stands there."""
        if not (text.startswith(self.before) and text.endswith(self.after)):
            return None
        inside = text[len(self.before) : len(text) - len(self.after)]
        return inside if inside and inside.strip() == inside else None


def words_of(text: str) -> list[str]:
    """The words and signs of a text."""
    return _WORD.findall(text)


def common_frame(texts: Sequence[str]) -> Frame:
    """What stands around the slot in all of the texts, in whole words; the slot is empty in none."""
    words = [list(_WORD.finditer(text)) for text in texts]
    room = min(map(len, words)) - 1
    before = _alike(words, room)
    after = _alike([each[::-1] for each in words], room - before)
    its = words[0]
    frame = Frame(before=texts[0][: its[before].start(1)], after=texts[0][its[len(its) - after - 1].end() :])
    while (found := _wider_before(frame)) and found[1][0].isupper() and not _starts(found[0]):
        frame = found[0]  # New {York}, New {Delhi}
    while (found := _wider_after(frame)) and found[1][0].isupper():
        frame = found[0]
    return frame


def _alike(words: Sequence[Sequence[re.Match[str]]], room: int) -> int:
    """How many words all begin with, of as many as there is room for."""
    for number in range(room):
        if len({each[number].group() for each in words}) > 1:
            return number
    return max(room, 0)


def find_frames(texts: Sequence[str], answers: Sequence[str]) -> dict[Frame, list[int]]:
    """The frames of distinct texts, with the numbers of the texts that chose each; three at least.

    `answers` are what each text is answered with: frames that differ in a word beside the slot, as in the
    first name of a person, are one if their answers are the same. Texts of more than 64 words and fillings
    of more than eight are passed over. The same texts give the same frames.
    """
    frames = dict[Frame, list[int]]()
    for number, frame in enumerate(_choose(texts, answers)):
        if frame is not None:
            frames.setdefault(frame, []).append(number)
    frames = _with_names(_merged(frames, answers), texts)
    return {frame: numbers for frame, numbers in sorted(frames.items()) if len(numbers) >= _LEAST}


def _choose(texts: Sequence[str], answers: Sequence[str]) -> list[Frame | None]:
    """For each text the frame that says it most briefly, with what it is answered."""
    found = (list(_WORD.finditer(text)) for text in texts)
    words = [each if len(each) <= _WORDS else [] for each in found]
    answer = _numbered(answers).astype(np.int64)
    candidates = picked = _candidates(words)
    slot = np.full(len(texts), _LONGEST)  # words in the slot that a text chose: wider ones say it worse
    for number in range(_ROUNDS):
        if not len(candidates.text):
            return [None] * len(texts)
        _, frame = np.unique(candidates.frame, return_inverse=True)
        _, filling, stands = np.unique(candidates.filling, return_inverse=True, return_counts=True)
        counted = candidates.length <= slot[candidates.text]
        fits = np.bincount(frame[counted], minlength=frame.max() + 1)
        said = np.unique(frame[counted] * len(texts) + answer[candidates.text[counted]]) // len(texts)
        answered = np.bincount(said, minlength=len(fits))
        with np.errstate(divide="ignore"):
            cost = ((_FRAME + answered) / fits)[frame] + candidates.length / stands[filling]
        order = np.lexsort((candidates.length, cost, candidates.text))
        best = order[np.append(True, np.diff(candidates.text[order]) != 0)]
        picked = candidates.only(best)
        slot[picked.text] = picked.length
        if number:  # the first choice counts every frame for every text
            candidates = candidates.only((np.bincount(frame[best], minlength=len(fits)) >= _LEAST)[frame])
    frames: list[Frame | None] = [None] * len(texts)
    for number, at, end in np.stack([picked.text, picked.at, picked.at + picked.length], axis=1).tolist():
        text, first, last = str(texts[number]), words[number][at], words[number][end - 1]
        frames[number] = Frame(before=text[: first.start(1)], after=text[last.end() :])
    return frames


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Runs of words that may fill a slot, (C,) each."""

    text: np.ndarray
    at: np.ndarray
    """The run's first word in its text."""
    length: np.ndarray
    frame: np.ndarray
    """A number for what stands around the run."""
    filling: np.ndarray
    """A number for the words of the run."""

    def only(self, kept: np.ndarray) -> "_Candidates":
        return _Candidates(**{name: part[kept] for name, part in vars(self).items()})


def _candidates(words: Sequence[Sequence[re.Match[str]]]) -> _Candidates:
    """The runs whose frame fits three texts or more."""
    counts = np.array([len(each) for each in words], np.int64)
    end_W = np.repeat(np.cumsum(counts), counts)
    start_W = end_W - np.repeat(counts, counts)
    text_W = np.repeat(np.arange(len(words)), counts)
    matches = [match for each in words for match in each]
    glued_W, bare_W = (_numbered([match.group(part) for match in matches]) for part in (0, 1))
    spaces_W = np.array([match.start(1) > match.start() for match in matches], np.uint64)
    around, inside = _Runs(glued_W), _Runs(bare_W)
    index_W = np.arange(len(text_W))
    before_W, before_many = _shared(around.hashes(start_W, index_W) * np.uint64(3) + spaces_W)
    after_W, after_many = _shared(np.append(around.hashes(index_W, end_W), 0))
    at, length = [], []
    for run in range(1, _LONGEST + 1):
        ends = index_W + run
        fits = (ends <= end_W) & (ends - index_W < end_W - start_W) & before_many
        ends = np.where(ends < end_W, ends, len(index_W))  # nothing after it
        fits &= (ends == len(index_W)) | after_many[np.minimum(ends, len(index_W))]
        at.append(index_W[fits])
        length.append(np.full(fits.sum(), run))
    at, length = np.concatenate(at), np.concatenate(length)
    ends = np.where(at + length < end_W[at], at + length, len(index_W))
    frame = before_W[at] * (int(after_W.max(initial=0)) + 1) + after_W[ends]
    _, number, fits = np.unique(frame, return_inverse=True, return_counts=True)
    found = _Candidates(
        text=text_W[at],
        at=at - start_W[at],
        length=length,
        frame=number,
        filling=inside.hashes(at, at + length),
    )
    return found.only(fits[number] >= _LEAST)


class _Runs:
    """Hashes of runs of numbers: sums of the numbers times powers of a base, modulo 2^64."""

    def __init__(self, numbers: np.ndarray) -> None:
        def powers(base: int) -> np.ndarray:
            factors = np.full(len(numbers) + 1, base % 2**64, np.uint64)
            factors[0] = 1
            return np.multiply.accumulate(factors)

        self._inverse = powers(pow(_BASE, -1, 2**64))
        mixed = (numbers + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
        self._sums = np.append(np.uint64(0), np.cumsum(mixed * powers(_BASE)[:-1]))

    def hashes(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return (self._sums[end] - self._sums[start]) * self._inverse[start]


def _numbered(items: Sequence[object]) -> np.ndarray:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], np.uint64)


def _shared(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each hash, and whether enough have it."""
    _, number, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return number, counts[number] >= _LEAST


_Widen = Callable[[Frame], tuple[Frame, str] | None]
"""Gives the frame whose slot has the next word, too, and that word."""


def _merged(frames: Mapping[Frame, list[int]], answers: Sequence[str]) -> dict[Frame, list[int]]:
    """The frames, where a word beside the slot that is a part of names is in the slot."""
    frames = dict(frames)
    for _ in range(_LONGEST):
        before = set(frames)
        for widen in (_wider_before, _wider_after):
            families = defaultdict[Frame, dict[Frame, str]](dict)
            for frame in frames:
                if (found := widen(frame)) is not None:
                    families[found[0]][frame] = found[1]
            for wider, words in sorted(families.items()):
                taken = _too_narrow(wider, words, frames, answers)
                numbers = [number for frame in taken for number in frames.pop(frame)]
                if numbers:
                    frames[wider] = sorted({*frames.get(wider, ()), *numbers})
        if set(frames) == before:
            break
    return frames


def _too_narrow(
    wider: Frame, words: Mapping[Frame, str], frames: Mapping[Frame, list[int]], answers: Sequence[str]
) -> list[Frame]:
    """Of the frames that differ in a word beside the slot, those whose word is a part of names.

    All are, if the words look so and the answers are the same; and each whose answers are those of the wider
    frame, which twice as many texts have chosen.
    """
    said = {frame: {answers[number] for number in frames.get(frame, ())} for frame in (wider, *words)}
    if _are_names(list(words.values())) and _answered_alike([said[frame] for frame in words]):
        return list(words)
    most = len(frames.get(wider, ())) / 2
    return [
        frame
        for frame in words
        if len(frames[frame]) <= most and 2 * len(said[frame] & said[wider]) >= len(said[frame])
    ]


def _wider_before(frame: Frame) -> tuple[Frame, str] | None:
    """The frame whose slot has the word before it, too, and that word."""
    last = max(_WORD.finditer(frame.before), key=re.Match.start, default=None)
    if last is None or (last.start(1) == 0 and not frame.after):
        return None
    return Frame(before=frame.before[: last.start(1)], after=frame.after), last.group(1)


def _wider_after(frame: Frame) -> tuple[Frame, str] | None:
    first = _WORD.match(frame.after)
    if first is None or (first.end() == len(frame.after) and not frame.before):
        return None
    return Frame(before=frame.before, after=frame.after[first.end() :]), first.group(1)


def _are_names(words: Sequence[str]) -> bool:
    names = sum(not word[0].islower() and word[0].isalnum() for word in words)
    return len(words) >= _SIBLINGS or (len(words) >= 2 and names >= 0.9 * len(words))


def _answered_alike(answers: Sequence[set[str]]) -> bool:
    """Whether most answers of each were given to others, too."""
    times = Counter(answer for each in answers for answer in each)
    shared = {answer for answer, number in times.items() if number > 1}
    return 2 * sum(len(each & shared) for each in answers) >= times.total()


def _with_names(frames: dict[Frame, list[int]], texts: Sequence[str]) -> dict[Frame, list[int]]:
    """The frames, where a name that stands beside the slot in each ("Person 7") is a part of fillings."""
    for widen in (_wider_before, _wider_after):
        while taken := _beside_names(frames, texts, widen):
            for frame, wider in taken.items():
                frames[wider] = sorted({*frames.get(wider, ()), *frames.pop(frame)})
    return frames


def _beside_names(
    frames: Mapping[Frame, list[int]], texts: Sequence[str], widen: _Widen
) -> dict[Frame, Frame]:
    """The frames beside whose slot a name stands, with the frame that has it in the slot.

    A word with a capital within a sentence is a name, unless all other frames with the same fillings lack
    it; at the start of a sentence it must be one elsewhere.
    """
    beside = {frame: found for frame in frames if (found := widen(frame)) is not None}
    starts = {frame for frame, (wider, _) in beside.items() if widen is _wider_before and _starts(wider)}
    names = {word for frame, (_, word) in beside.items() if frame not in starts and word[0].isupper()}
    filled = defaultdict[str | None, set[Frame]](set)
    for frame, numbers in frames.items():
        for number in numbers:
            filled[frame.filling(texts[number])].add(frame)
    taken = {}
    for frame, (wider, word) in beside.items():
        if word in names:
            others = [
                other for number in frames[frame] for other in filled[frame.filling(texts[number])] - {frame}
            ]
            alike = any(other in beside and beside[other][1] == word for other in others)
            if alike or not (others or frame in starts):
                taken[frame] = wider
    return taken


def _starts(frame: Frame) -> bool:
    """Whether what follows begins a sentence."""
    before = frame.before.rstrip()
    return not before or before[-1] in ".!?:"
