"""Files that are either whole or not there, and values as JSON."""

import json
import math
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from spillover.errors import RunError
from spillover.runs import files
from spillover.runs.files import hash_file, hash_json, jsonable
from tests.runs.folder import contents, start


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a folder", "link to a file", "loop"])
def test_only_plain_files_are_replaced(tmp_path, kind):
    path = tmp_path / "a.json"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "link to a file":
            path.symlink_to(__file__)
        case _:
            path.symlink_to(tmp_path)
    with pytest.raises(OSError, match="not a plain file"):
        files.write_json(path, {})
    assert not stat.S_ISREG(path.lstat().st_mode)
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("broken_step", ["os.replace", "os.fsync"])
def test_a_crash_before_the_replace_keeps_the_old_file(tmp_path, monkeypatch, broken_step):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": True})

    def crash(*_):
        raise OSError("power cut")

    monkeypatch.setattr(broken_step, crash)
    with pytest.raises(OSError, match="power cut"):
        files.write_json(path, {"new": True})
    assert contents(tmp_path) == {"a.json": b'{\n  "old": true\n}\n'}


def test_a_row_that_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="cannot write a object as JSON"):
        files.write_jsonl(tmp_path / "a.jsonl", [{"fine": 1}, object()])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("read", [files.read_json, files.read_jsonl, files.read_parquet])
def test_missing_and_broken_files_are_run_errors(tmp_path, read):
    with pytest.raises(RunError):
        read(tmp_path / "missing")
    (tmp_path / "broken").write_bytes(b'{"fine": 1}\n{"fi')
    with pytest.raises(RunError, match="broken"):
        read(tmp_path / "broken")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="binary"):
        read(tmp_path / "binary")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9" * 5000, "the number 999999999999 is too large"),
        ("1e999", "the number 1e999 is too large"),
        ("-Infinity", "the number -Infinity is too large"),
        ("NaN", "the number NaN is too large, or none"),
        ("[" * 100_000, "recursion"),
        ("[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        ('{"a":' * 60 + "1" + "}" * 60, "nested more than 50 levels deep"),
        (r'"\ud800"', "surrogates not allowed"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_we_could_not_have_written_is_not_read(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    for read in (files.read_json, files.read_jsonl):
        with pytest.raises(RunError, match=rf"a\.json(:1)? is not valid JSON: .*{message}") as caught:
            read(tmp_path / "a.json")
        assert len(str(caught.value)) < 400


def test_what_is_deep_enough_is_read(tmp_path):
    deep = json.loads("[" * 49 + "1" + "]" * 49)
    files.write_json(tmp_path / "a.json", deep)
    assert files.read_json(tmp_path / "a.json") == deep


@pytest.mark.parametrize("read", [files.read_json, files.read_jsonl, files.read_parquet])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe", "link to itself", "device"])
def test_only_plain_files_are_read(tmp_path, read, kind):
    """Whoever opens a pipe waits for its writer; here there is none."""
    path = tmp_path / "a"
    match kind:
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "link to itself":
            path.symlink_to(path)
        case _:
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe")
            path = tmp_path / "pipe" if kind == "pipe" else path
    with pytest.raises(RunError, match=f"cannot read {path}: (it is not a plain file|Too many levels)"):
        read(path)


def test_a_bit_that_flips_in_a_table_is_found(tmp_path):
    files.write_parquet(tmp_path / "a.parquet", pa.table({"x": np.random.default_rng(0).normal(size=1000)}))
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4000] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(RunError, match=r"cannot read .*a.parquet as Parquet"):
        files.read_parquet(tmp_path / "a.parquet")


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n{"lo')
    with pytest.raises(RunError, match=r"metrics.jsonl:2 is not valid JSON"):
        files.read_jsonl(tmp_path / "metrics.jsonl")


def test_a_line_separator_inside_a_row_is_kept(tmp_path):
    rows = [{"text": "a\u2028b\nc"}]
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert files.read_jsonl(tmp_path / "a.jsonl") == rows


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    with start(tmp_path / "lr=3") as run:
        run.write_parquet("scores.parquet", pa.table({"x": [1]}))
        assert run.read_parquet("scores.parquet").column_names == ["x"]


def test_rows_as_csv_have_empty_cells_where_undefined(tmp_path):
    rows = [{"model": "a, b", "loss": 0.5}, {"model": "c", "loss": math.nan}]
    files.write_csv(tmp_path / "table.csv", rows)
    assert (tmp_path / "table.csv").read_bytes() == b'model,loss\n"a, b",0.5\nc,\n'


class Kind(StrEnum):
    CAUSAL = "causal"


@dataclass(frozen=True, kw_only=True)
class Box:
    path: Path
    kind: Kind


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (np.float32("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ({1: (np.float64(0.5), "é")}, {"1": [0.5, "é"]}),
        (Box(path=Path("a") / "b", kind=Kind.CAUSAL), {"path": "a/b", "kind": "causal"}),
    ],
)
def test_jsonable(value, wanted):
    got = jsonable(value)
    assert got == wanted
    assert type(got) is type(wanted)
    assert "NaN" not in json.dumps(got, allow_nan=False)


def test_undefined_numbers_go_to_json_and_come_back():
    rules = [{"p_value": np.nan, "top1": {"after": float("inf")}, "name": "x", "queries": np.int64(3)}]
    here = files.plain(rules)
    assert here == [{"p_value": math.nan, "top1": {"after": math.nan}, "name": "x", "queries": 3}]
    read = json.loads(json.dumps(jsonable(rules), allow_nan=False))
    assert read == [{"p_value": None, "top1": {"after": None}, "name": "x", "queries": 3}]
    assert files.nulls_as_nan(read) == here  # each NaN is the one of `math`, which equals itself in a list


def test_hashes(tmp_path):
    assert hash_json({"a": 1, "b": (2, np.nan)}) == hash_json({"b": [2, None], "a": np.int32(1)})
    assert hash_json([1]) != hash_json(["1"])
    (tmp_path / "empty").touch()
    assert hash_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_name_of_full_length_is_written(tmp_path):
    files.write_text(tmp_path / ("x" * 255), "whole")
    assert contents(tmp_path) == {"x" * 255: b"whole"}


@pytest.mark.parametrize(
    ("name", "reason"), [("a\0b", "embedded null byte"), ("x" * 300, "File name too long")]
)
def test_a_path_that_nothing_can_have_is_one_line(name, reason):
    with pytest.raises(RunError, match=rf"cannot use the path .*: {reason}; give another") as error:
        files.usable(name)
    assert len(str(error.value)) < 100
    with pytest.raises(OSError, match=reason):
        files.write_text(Path(name), "")
    assert files.usable("no/such") == Path("no/such")
