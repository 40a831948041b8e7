"""The one-layer model as the paper writes it: sequences drawn one by one, attention T by T. Slow and plain.

Weights that the lab leaves out, because nothing reads them, are filled with noise here.
"""

import numpy as np
import torch

from spillover.symbolic.model import Model, Network
from spillover.symbolic.task import Task


def draw_sequence(task: Task, triple: int, rng: np.random.Generator) -> list[int]:
    """One subject, later one relation, noise elsewhere, EOS last."""
    subject = task.tokens["subjects"][task.triples.subject[triple]]
    relation = task.tokens["relations"][task.triples.relation[triple]]
    noise = list(task.tokens["noise"])
    sequence = [int(rng.choice(noise)) for _ in range(task.length - 3)]
    sequence.insert(int(rng.integers(len(sequence) + 1)), subject)
    after = sequence.index(subject) + 1
    sequence.insert(int(rng.integers(after, len(sequence) + 1)), relation)
    return [*sequence, task.tokens["eos"][0]]


def sequence_of(task: Task, triple: int, noise_N) -> list[int]:
    """A sequence with these noise counts."""
    tokens = [task.tokens["subjects"][task.triples.subject[triple]]]
    tokens += [
        token for token, many in zip(task.tokens["noise"], noise_N, strict=True) for _ in range(int(many))
    ]
    return [*tokens, task.tokens["relations"][task.triples.relation[triple]], task.tokens["eos"][0]]


def counts_of(task: Task, sequences: list[list[int]]) -> torch.Tensor:
    """Counts of the input tokens, (B, V)."""
    counts = [np.bincount(sequence, minlength=task.vocabulary) for sequence in sequences]
    return torch.tensor(np.array(counts)[:, task.inputs], dtype=torch.float64)


class PlainModel(torch.nn.Module):
    """One seed of a network, with all D by D (or D by H) weights."""

    def __init__(self, network: Network, task: Task, seed: int) -> None:
        super().__init__()
        self.model, self.task = network.model, task
        d = self.model.dimension(task)
        self.one_hot = self.model.embeddings == "orthonormal"
        answers = task.tokens["answers"]
        arrays = {name: array[seed] for name, array in (network.parameters | network.fixed).items()}
        if self.one_hot:
            self.embedding = torch.eye(d, dtype=torch.float64)[: task.vocabulary]
        else:
            self.embedding = torch.zeros(task.vocabulary, d, dtype=torch.float64)
            self.embedding[torch.tensor(task.inputs)] = arrays["inputs"]
            self.embedding[torch.tensor(answers)] = arrays["answers"]
        self.rows = {"input": torch.tensor(task.inputs), "answer": torch.tensor(answers)}
        generator = torch.Generator().manual_seed(7)

        def whole(shape, rows, columns, values):
            filled = torch.randn(shape, generator=generator, dtype=torch.float64)
            filled[np.ix_(rows, columns)] = values
            return torch.nn.Parameter(filled)

        inputs, eos = list(task.inputs), [task.tokens["eos"][0]]
        for name in arrays.keys() - {"inputs", "answers"}:
            value = arrays[name]
            if not self.one_hot:
                weight = torch.nn.Parameter(value.clone())
            elif name == "ov":
                weight = whole((d, d), list(answers), inputs, value.mT)
            elif name == "scores":
                weight = whole((d, d), inputs, eos, value[:, None])
            else:
                rows = {"output": list(answers), "value": inputs, "key": inputs, "query": eos}[name]
                width = value.shape[-1]
                weight = whole((d, width), rows, list(range(width)), value)
            weight.requires_grad_(not (name == "scores" and self.model.key_query == "fixed"))
            self.register_parameter(name, weight)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the answers at the last position, (B, A)."""
        own = dict(self.named_parameters())
        x_BTD = self.embedding[tokens_BT]
        w_ov = own["ov"] if "ov" in own else own["output"] @ own["value"].T
        w_kq = own["scores"] if "scores" in own else own["key"] @ own["query"].T
        scores_BTT = x_BTD @ w_kq.T @ x_BTD.mT  # row i: the scores of all positions for the query at i
        if self.model.attention == "softmax":
            scores_BTT = torch.softmax(scores_BTT, dim=-1)
        f_BTD = scores_BTT @ x_BTD @ w_ov.T
        return (f_BTD @ self.embedding[self.rows["answer"]].T)[:, -1]

    def reduced_gradient(self) -> dict[str, torch.Tensor]:
        """What the lab keeps of every gradient, after a backward pass."""
        inputs, answers, eos = self.rows["input"], self.rows["answer"], self.task.tokens["eos"][0]
        cut = {}
        for name, weight in self.named_parameters():
            if weight.grad is None:
                continue
            slope = weight.grad
            if self.one_hot:
                if name == "ov":
                    slope = slope[answers][:, inputs].T
                elif name == "scores":
                    slope = slope[inputs, eos]
                elif name == "query":
                    slope = slope[eos]
                else:
                    slope = slope[answers if name == "output" else inputs]
            cut[name] = slope
        return cut


def plain(model: Model, task: Task, seed: int = 0) -> tuple[Network, PlainModel]:
    """A network of one seed in float64, and the same written plainly."""
    network = Network(model, task, [seed], torch.float64)
    return network, PlainModel(network, task, 0)
