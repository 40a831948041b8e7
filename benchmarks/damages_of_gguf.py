"""What can be wrong with a GGUF file."""

from benchmarks.damages_of_files import FILE_DAMAGES, Damage, cut_at, overwrite


def gguf_damages() -> dict[str, Damage]:
    """By name, what can be wrong with a GGUF file."""
    cuts = (1, 4, 8, 20, 24, 100, 1000, 8000, -100_000, -1000, -1)
    count = b"\xff" * 7 + b"\x0f"
    layers = b"block_count\x04\0\0\0"  # a key, and the type of its value
    return (
        {
            "empty": lambda f: f.write_bytes(b""),
            "garbage": lambda f: f.write_bytes(b"x" * 5000),
            "another version": lambda f: overwrite(f, 4, b"\x63\0\0\0"),
            "countless tensors": lambda f: overwrite(f, 8, count),
            "countless keys": lambda f: overwrite(f, 16, count),
            "a key of any length": lambda f: overwrite(f, 24, count),
            "zeros from the middle on": lambda f: overwrite(f, 3000, b"\0" * 3000),
            "a type that is none": lambda f: f.write_bytes(f.read_bytes().replace(b"llama", b"lamas")),
            "layers without end": lambda f: f.write_bytes(
                f.read_bytes().replace(layers + b"\2\0\0", layers + b"\xff" * 3)
            ),
        }
        | {f"cut at {cut}": cut_at(cut) for cut in cuts}
        | FILE_DAMAGES
    )
