"""What `benchmarks.fuzz` tries: kinds of input, how they are drawn, and what is done with one.

An act returns what is wrong with its result, "" where nothing is; a complaint is a SpilloverError.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz_commands import GATES, LINES, TINY, call_line, forecast, read_gate
from benchmarks.fuzz_tables import DAMAGED, WHOLE, read_damaged, read_whole
from benchmarks.fuzz_yaml import PATHS, SHEETS, SPECS, read_path, read_sheet, read_spec


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input."""

    share: float
    """Of all examples."""
    inputs: st.SearchStrategy[Any]
    act: Callable[[Path, Any], str]
    """Given a folder to write into and the input."""


KINDS = {
    "whole tables": Kind(share=0.25, inputs=WHOLE, act=read_whole),
    "damaged tables": Kind(share=0.25, inputs=DAMAGED, act=read_damaged),
    "knowledge bases": Kind(share=0.2, inputs=SHEETS, act=read_sheet),
    "paths of tables": Kind(share=0.05, inputs=PATHS, act=read_path),
    "specs of sweeps": Kind(share=0.08, inputs=SPECS, act=read_spec),
    "gates": Kind(share=0.07, inputs=GATES, act=read_gate),
    "command lines": Kind(share=0.07, inputs=LINES, act=call_line),
    "forecasts": Kind(share=0.03, inputs=TINY, act=forecast),
}
"""All kinds, by name."""
