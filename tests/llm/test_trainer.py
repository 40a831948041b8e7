"""Batches and the loss of a tune."""

from pathlib import Path

import torch

from spillover.llm import finetune as finetune_module
from spillover.llm import models
from spillover.llm.encode import end_token
from spillover.llm.trainer import AnswerTrainer, LengthSorted, collate, encode_examples
from tests.llm.tuning import CONFIG, EXAMPLES


def test_loss_and_gradient_equal_the_plain_way(tiny_folder: Path) -> None:
    """Against right padding, logits at every position and the model's own loss."""
    model, tokenizer = models.load(tiny_folder)
    rows = encode_examples(tokenizer, EXAMPLES)
    trainer = AnswerTrainer(
        model=model, args=finetune_module._arguments(CONFIG, tiny_folder / "x", len(rows))
    )
    loss = trainer.compute_loss(model, collate(rows, tokenizer.pad_token_id))
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    pairs = [(row.prompt, row.answer) for row in rows]
    width = max(len(p) + len(a) for p, a in pairs)
    ids = torch.tensor([p + a + [0] * (width - len(p) - len(a)) for p, a in pairs])
    mask = torch.tensor([[1] * (len(p) + len(a)) + [0] * (width - len(p) - len(a)) for p, a in pairs])
    labels = torch.tensor([[-100] * len(p) + a + [-100] * (width - len(p) - len(a)) for p, a in pairs])
    expected = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for got, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-3, atol=1e-6)


def test_an_answers_end_is_trained(tiny_folder: Path) -> None:
    _, tokenizer = models.load(tiny_folder)
    rows = encode_examples(tokenizer, EXAMPLES)
    assert {row.answer[-1] for row in rows} == {end_token(tokenizer)}
    assert all(row.answer.count(end_token(tokenizer)) == 1 for row in rows)


def test_several_gpus_do_not_change_the_batch(tmp_path: Path) -> None:
    arguments = finetune_module._arguments(CONFIG, tmp_path, 7)
    arguments._n_gpu = 4  # what TrainingArguments finds where four are visible
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == CONFIG.batch_size


def test_every_length_has_its_share_of_the_short_batch() -> None:
    """With a remainder: 10 examples, batches of 4. Sorted first, the longest would always be left over."""
    lengths = [1] * 5 + [9] * 5
    sampler = LengthSorted(lengths, 4, seed=0)
    rest: list[int] = []
    for epoch in range(400):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(10))
        rest += order[8:]
    share = sum(lengths[i] == 1 for i in rest) / len(rest)
    assert 0.42 < share < 0.58  # 800 draws: within 4.5 standard errors


def test_batches_hold_near_equal_lengths_and_every_example_once() -> None:
    lengths = [3, 9, 4, 8, 3, 9, 4, 8, 5, 5]
    sampler = LengthSorted(lengths, 2, seed=0)
    orders = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = list(sampler)
        orders.append(order)
        assert sorted(order) == list(range(10))
        assert all(lengths[a] == lengths[b] for a, b in zip(order[::2], order[1::2], strict=True))
    assert orders[0] != orders[1]
    sampler.set_epoch(0)
    assert list(sampler) == orders[0]
