"""Other text beside the table, so that a tune has more to keep than its facts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from spillover.interventions.hooks import Before, Intervention, from_split
from spillover.interventions.knobs import check_least, count_beside
from spillover.knowledge.common import other_texts
from spillover.knowledge.prompts import Example, Question, examples, running
from spillover.knowledge.split import Split


@dataclass(frozen=True, kw_only=True)
class Interleave(Intervention):
    """Mixes in texts of other things, those that a plain tune harmed most (arXiv 2508.06249).

    A text's gap is what its loss a token grew, in nats, from the untuned model to the plainly tuned one,
    which is made before. Chosen so, interleaving was the only one of the paper's defences that was good by
    all four of its criteria. Our own choice is the pool: `knowledge.common.other_texts`, which touch no
    built-in table.

    All of a text but its first word is trained, every token like one of an answer. Batches hold equal
    lengths, so texts mostly have steps of their own; an epoch has 1 + `share` times as many.
    """

    share: float = 0.2
    """Texts for each example of the table."""
    chosen: Literal["gap", "random"] = "gap"
    """The control draws them by the seed; it needs no plain tune before."""
    count: int = from_split(0)
    """Texts to mix in."""
    texts: tuple[str, ...] = from_split()
    """Those to choose among, first the first."""

    def __post_init__(self) -> None:
        """Raise TrainingError for a share below 0."""
        check_least("interleave", 0, share=self.share)

    @property
    def acts(self) -> bool:
        """Not with a share of 0."""
        return self.share > 0

    @property
    def rehearses(self) -> bool:
        """For the gap there is a plain tune before."""
        return self.chosen == "gap"

    def planned(self, split: Split, seed: int) -> Self:
        """With the texts. Raises TrainingError where there are not as many."""
        texts, taught = other_texts(), len(examples(split))
        count = count_beside("interleave", "texts", self.share, taught, len(texts))
        if self.chosen == "random":
            # the third word keeps this stream apart from those of `split`
            order = np.random.default_rng([seed, 0, 4]).permutation(len(texts))
            texts = tuple(texts[place] for place in order[:count])
        return replace(self, count=count, texts=texts)

    def lessons(self, examples: Sequence[Example], before: Before) -> Sequence[Example]:
        """The examples, and behind them the texts: which come when is the order of the tune."""
        texts = [running(text) for text in self.texts]
        if self.chosen == "gap":
            gaps = _gaps(texts, before)
            texts = [texts[place] for place in np.argsort(-gaps, kind="stable")]
        return [*examples, *texts[: self.count]]


def _gaps(texts: Sequence[Example], before: Before) -> np.ndarray:
    """By how much each text's loss a token (nats) grew in the twin; what cannot be scored comes last."""
    questions = [Question(prompt=text.prompt, completions=(text.completion,)) for text in texts]
    untuned, tuned = (
        np.array([values[0] for values in before.ask(model, questions)])
        for model in (before.model, before.twin)
    )
    wholes, prompts = (
        np.array([len(ids) for ids in before.tokenizer(part)["input_ids"]])
        for part in ([text.prompt + text.completion for text in texts], [text.prompt for text in texts])
    )
    return np.nan_to_num((untuned - tuned) / (wholes - prompts), nan=-np.inf)
