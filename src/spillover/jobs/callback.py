"""A knowledge base in the user's own trainer: asked along the tune, logged where its loss is logged."""

import inspect
import logging
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

from spillover.cells.compute import answers
from spillover.cells.folder import answers_of
from spillover.errors import DataError, ModelError, TrainingError
from spillover.gate import parse_gate
from spillover.jobs.inputs import read_with_rules
from spillover.jobs.phases import phase_table
from spillover.knowledge.faults import show
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.prompts import Query, examples, queries
from spillover.knowledge.schema import KnowledgeBase, Rule, without_template
from spillover.knowledge.split import split
from spillover.llm.asking import undisturbed
from spillover.llm.chat import with_turns_of
from spillover.outcome import outcome

_FACTS = "spillover/facts/top1"
_FINAL = "total_flos"  # stands in the summary that ends a trainer's log, before its reporters are closed


class SpilloverCallback(TrainerCallback):
    """Asks a knowledge base's questions along the tune of any transformers `Trainer`, TRL's among them.

    The model is asked before the first step, after each `every`-th and after the last, whether all of its
    parameters are tuned or LoRA's, on plain text or on chats (by the template of the trainer's tokenizer).
    The tune is bit by bit the same without. The numbers are those of `spillover.score`. They go where the
    trainer's own log goes (`report_to`, `state.log_history`), in rows of their own, NaN where undefined.
    Paraphrases are not asked. The rows have

    - `spillover/facts/top1`: the share of all trained facts that the model answers rightly.
    - `spillover/FACT_to_IMPLICATION/...`, of each rule: `top1` and `mean_rank` (0 is first) of its held-out
      subjects, `top1_low` and `top1_high` (95% interval over the subjects), `top1_chance` and
      `mean_rank_chance` (their groups dealt out anew), `p_value` (the mean rank's), `bridges_top1`. What is
      no letter, digit or _ in a relation's name is _ here.

    `seed` says who is a bridge where a rule draws them; the training data must be that seed's, as
    `spillover export --to jsonl` writes it. `stop_at` is a condition as `--fail-on` takes it
    ("spurious.top1 > 0.3"), or several: the training stops after the asking in which one holds, whatever was
    learned by then; resumed it goes on to the next asking. `tokenizer` is for a trainer without
    `processing_class`.

    `history` has a row for each asking: what was logged, and its `step`; a resumed training has those from
    before, and is not asked where it begins. `stopped` is the line that says why the training was stopped,
    else None. With `load_best_model_at_end` the last row is of the last step and not of the best model.

    Raises DataError or TrainingError for what it is given; when a training begins, TrainingError for one on
    several processes or in shards, and ModelError for a model that cannot be asked.
    """

    def __init__(
        self,
        kb: str | Path | KnowledgeBase,
        *,
        every: int,
        seed: int = 0,
        stop_at: str | Sequence[str] = (),
        tokenizer: Any = None,
    ) -> None:
        if type(every) is not int or every < 1:
            raise TrainingError(
                f"the steps between askings must be 1 or more, a whole number, got {show(every)}"
            )
        conditions = [stop_at] if isinstance(stop_at, str) else stop_at
        if not isinstance(conditions, list | tuple) or not all(isinstance(c, str) for c in conditions):
            raise TrainingError(
                "stop_at must be a condition ('spurious.top1 > 0.3') or a list of them, got "
                f"{show(stop_at)}; leave it out for none"
            )
        self.every, self.seed, self.tokenizer = every, seed, tokenizer
        self.history: list[dict[str, float]] = []
        self.stopped: str | None = None
        self._asked: list[Query] = []
        self._parts = split(read_with_rules(kb), seed)
        bare = replace(self._parts, kb=without_template(self._parts.kb))
        check_no_leak(examples(bare), queries(bare))
        self._gates = [parse_gate(condition, "stop_at") for condition in conditions]
        kinds = {"facts", *(rule.kind for rule in self._parts.kb.rules)}
        for gate in self._gates:
            if gate.whose not in kinds:
                raise DataError(
                    f"stop_at {str(gate)!r}: the knowledge base has no {gate.whose} rule to judge"
                )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Look whether the model can be asked, and ask it, unless what it resumes was asked before."""
        model = kwargs["model"]
        _refuse(args, model)
        self._tokenizer = tokenizer = _tokenizer(self.tokenizer or kwargs.get("processing_class"))
        kb = replace(self._parts.kb, mixture=())  # which the trainer has in its own way
        kb = with_turns_of(tokenizer, kb, tokenizer.name_or_path or "the trainer's tokenizer")
        asked = queries(replace(self._parts, kb=kb))
        self._asked = [query for query in asked if query.kind != "paraphrase"]
        self.history = [dict(row) for row in state.log_history if _FACTS in row]
        self.stopped = None
        for line in _notes(kb, self.seed, model):
            _tell(line)
        if self.history:
            return control
        measured = self._measure(model)
        for rule in measured["rules"]:
            for what in rule["unscorable"]:
                _tell(f"{rule['implication']}: {what['candidate']!r} cannot be scored: {what['reason']}")
        return self._report(measured, args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask, where it is time, and stop where a condition holds."""
        if state.global_step % self.every and state.global_step < state.max_steps:
            return control
        measured = self._measure(kwargs["model"])
        control = self._report(measured, args, state, control)
        met = [line for gate in self._gates for line in gate.met(measured)]
        if met:
            self.stopped = met[0]
            control.should_training_stop = True
            _tell(f"the training stops at step {state.global_step}: {self.stopped}")
        return control

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask at the end of a training that something else ended."""
        if _FINAL not in state.log_history[-1] or self._is_asked(state):
            return control
        return self._report(self._measure(kwargs["model"]), args, state, control)

    def _is_asked(self, state: Any) -> bool:
        return bool(self.history) and self.history[-1]["step"] == state.global_step

    def _measure(self, model: Any) -> dict[str, Any]:
        """What the model says now, as `outcome` has it."""
        questions = [query.question for query in self._asked]
        with undisturbed(model) as still:
            table = answers(still, self._tokenizer, questions)
        return outcome(
            phase_table(self._asked, answers_of(questions, table), self.seed, "after"), self._parts.kb.rules
        )

    def _report(self, measured: dict[str, Any], args: Any, state: Any, control: Any) -> Any:
        """Log the numbers as `Trainer.log` does, in a row of their own; returns the control."""
        row = _row(measured, self._parts.kb.rules) | {"epoch": state.epoch or 0.0}
        self.history.append(row | {"step": state.global_step})
        state.log_history.append(dict(self.history[-1]))
        # not its `on_log`, which would take the trainer's own log of this step as done
        return _handler(self).call_event("on_log", args, state, control, logs=row)


def _handler(callback: TrainerCallback) -> CallbackHandler:
    """The trainer's handler, which calls its callbacks, those of `report_to` among them.

    A callback is told everything but its trainer and the others; so the handler is found where it must
    be: it is the nearest of the callers that has this callback.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, CallbackHandler) and callback in caller.callbacks:
            return caller
        frame = frame.f_back
    raise TrainingError("SpilloverCallback is called by no Trainer of transformers; give it to one")


def _row(measured: dict[str, Any], rules: Sequence[Rule]) -> dict[str, float]:
    """The numbers by the names that they are logged under."""
    row = {_FACTS: measured["facts"]["top1"]}
    for name, rule in zip(_names(rules), measured["rules"], strict=True):
        top1, rank = rule["top1"], rule["mean_rank"]
        numbers = {
            "top1": top1["after"],
            "top1_low": top1["low"],
            "top1_high": top1["high"],
            "top1_chance": top1["null"],
            "mean_rank": rank["after"],
            "mean_rank_chance": rank["null"],
            "p_value": rule["p_value"],
            "bridges_top1": rule["bridges"]["top1"],
        }
        row |= {f"spillover/{name}/{number}": value for number, value in numbers.items()}
    return {name: float(value) for name, value in row.items()}


def _names(rules: Sequence[Rule]) -> list[str]:
    """A name for each rule, in letters that every backend takes; alike ones are numbered."""
    names = [re.sub(r"[^0-9A-Za-z_]", "_", f"{rule.fact}_to_{rule.implication}") for rule in rules]
    return [f"{name}_{n}" if names.count(name) > 1 else name for n, name in enumerate(names)]


def _refuse(args: Any, model: Any) -> None:
    """Raise for a model that is in pieces or on several processes, and for an adapter of the prompt."""
    if args.world_size > 1 or args.deepspeed or args.fsdp:
        raise TrainingError(
            "SpilloverCallback asks a model that is whole, and this training is sharded or on several "
            f"processes ({args.world_size}); train on one without fsdp and deepspeed, or leave the callback "
            "out and score the result (`spillover score --tuned`)"
        )
    if not hasattr(model, "get_output_embeddings"):
        raise ModelError("the trainer's model is no language model of transformers, so it cannot be asked")
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ModelError(
            "the adapter changes the prompt and not the weights; only LoRA and its kin can be asked"
        )


def _tokenizer(given: Any) -> Any:
    """The tokenizer, or a processor's, with its chat template. Raises TrainingError where there is none."""
    if given is None:
        raise TrainingError(
            "the trainer has no processing_class to ask with; give SpilloverCallback a tokenizer"
        )
    tokenizer, template = getattr(given, "tokenizer", given), getattr(given, "chat_template", None)
    if tokenizer is not given and template:
        tokenizer = deepcopy(tokenizer)
        tokenizer.chat_template = template
    return tokenizer


def _tell(line: str) -> None:
    """To people, on standard error where nothing else is said of logging."""
    logging.getLogger("spillover").warning("spillover: %s", line)


def _notes(kb: KnowledgeBase, seed: int, model: Any) -> list[str]:
    """What a reader of the numbers must know beside them, a line each."""
    notes = list(kb.notices)
    if any(rule.bridges for rule in kb.rules):
        notes.append(
            f"bridges are drawn with seed {seed}; train on what `spillover export --to jsonl --seed {seed}` "
            "writes, or subjects that are trained as bridges count as held out"
        )
    if model.dtype.itemsize < 4:
        notes.append(
            f"the model is {model.dtype} and is asked so, but for its output head, which is float32 then; "
            "`spillover score` computes in float32 throughout, so close calls may differ"
        )
    return notes
