"""A model behind a real server against the same weights scored here: llama-cpp-python's, and SmolLM2's GGUF.

    python -m benchmarks.endpoint PYTHON GGUF [--float32] [--questions N] [--record FILE]

PYTHON has `llama-cpp-python[server]` installed, which is compiled. The server computes with the file's
quantized weights and rounds activations to 8 bits; --float32 gives it the same weights written out, which is
what is loaded here. The questions are the held-out ones of city-language. Each begins with the model's
beginning token, since without one that server's echo is shifted by a token (refused, as is shown first).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spillover.errors import ModelError
from spillover.knowledge.load import load
from spillover.knowledge.prompts import Question, queries
from spillover.knowledge.split import split
from spillover.llm import endpoint, models
from spillover.llm.client import Client
from spillover.llm.score import score
from spillover.runs.stats import rank_matrix


def main() -> None:
    """Print how far the two sides agree, and how long either took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--questions", type=int, default=80)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()

    model, tokenizer = models.load(models.locate(str(given.gguf)))
    asked = [q.question for q in queries(split(load("city-language"), 0)) if q.kind == "held_out"]
    plain = asked[: given.questions]
    begun = [Question(prompt=tokenizer.bos_token + q.prompt, completions=q.completions) for q in plain]
    started = time.perf_counter()
    ours = score(model, tokenizer, begun)
    print(f"here: {time.perf_counter() - started:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        file = _float32(given.gguf, Path(scratch) / "float32.gguf") if given.float32 else given.gguf
        with _server(given.python, file, given.float32) as name, _recording() as exchange:
            try:
                endpoint.score(endpoint.Endpoint.of(name), plain)
            except ModelError as error:
                print(f"without a beginning token: {error}", flush=True)
            shifted = len(exchange)
            started = time.perf_counter()
            theirs = [values for values, _ in endpoint.score(endpoint.Endpoint.of(name), begun)]
            print(f"served: {time.perf_counter() - started:.1f} s")
    same = sum(
        np.array_equal(*(rank_matrix([v])[0] for v in pair)) for pair in zip(ours, theirs, strict=True)
    )
    first = sum(int(a.argmax() == b.argmax()) for a, b in zip(ours, theirs, strict=True))
    gaps = np.abs(np.concatenate(ours) - np.concatenate(theirs))
    print(f"ranks of all candidates equal in {same} of {len(begun)} questions, the first in {first}")
    print(f"log-probabilities differ by {gaps.max():.1e} at most, {np.median(gaps):.1e} in the median")
    if given.record:
        document = {
            "plain": [[q.prompt, *q.completions] for q in plain],
            "begun": [[q.prompt, *q.completions] for q in begun],
            "scored_here": [values.tolist() for values in ours],
            "exchange_plain": exchange[:shifted],
            "exchange_begun": exchange[shifted:],
        }
        given.record.write_text(json.dumps(document, ensure_ascii=False, indent=0), encoding="utf-8")


@contextmanager
def _server(python: str, gguf: Path, float32: bool) -> Iterator[str]:
    """llama-cpp-python's server while it runs; its name as an endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", "smollm2"]
    command += ["--port", str(port), "--n_ctx", "256", "--logits_all", "true", "--verbose", "false"]
    command += ["--n_threads", "2", *(["--type_k", "0", "--type_v", "0"] if float32 else [])]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield f"openai:http://127.0.0.1:{port}#smollm2"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _recording() -> Iterator[list[list[Any]]]:
    """What is posted meanwhile and what is answered, in the order of the answers."""
    exchange: list[list[Any]] = []
    post = Client.post

    def recorded(self: Client, path: str, body: Any, *, patient: bool = True) -> Any:
        answer = None
        try:
            answer = post(self, path, body, patient=patient)
        finally:
            exchange.append([dict(body), answer])
        return answer

    Client.post = recorded  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield exchange
    finally:
        Client.post = post


def _float32(source: Path, target: Path) -> Path:
    """The GGUF file with every tensor written out in float32."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        value = 0 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, kind, inner)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values, raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    sys.exit(main())
