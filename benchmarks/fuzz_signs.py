"""Signs, numbers and bytes that programs stumble over, as strategies that other inputs are drawn from."""

from hypothesis import strategies as st

_ODD = [
    "\0", "\ufeff", "\u202e", "\u2066", "\u200b", "\x1b[31m", "\x1b]0;x\x07", "\x85", "\u2028", "\r", "\n",
    "\r\n", "\t", '"', '""', "'", ",", ";", "\\", "\\N", "{", "}", "{subject}", "$(ls)", "`ls`", "<script>",
    "{{7*7}}", "%s", "=1+1", "é", "e\u0301", "ß", "İ", "\U0001f600", "\xa0", "\u3000", "NULL", "nan", "1e999",
    "-0", "--", "/*",
]  # fmt: skip

_SIGNS = st.one_of(
    st.sampled_from(_ODD), st.text(max_size=5), st.sampled_from(["a", "b", "x" * 10_000, "y" * 10_001])
)

TEXT = st.lists(_SIGNS, max_size=4).map("".join)
"""Up to four odd signs in a row, or any short text, or a very long one."""

_MARKS = [
    b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\0", b"\xed\xa0\x80", b"\x80", b"\xc3", b"\x1a", b"\r",
]  # fmt: skip

_SYNTAX = [
    b'"', b'""', b",", b"\n", b"\n\n", b"{", b"[", b"}", b"]", b":", b"\\ud800", b"\\u0000", b"\\",
    b"x" * 200_000,
]  # fmt: skip

_JSON = [b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"NaN", b"null", b"1e999"]

BYTES = st.one_of(
    st.sampled_from(_MARKS), st.sampled_from(_SYNTAX), st.sampled_from(_JSON), st.binary(max_size=6)
)
"""What is put among the bytes of a file."""

LONG = st.sampled_from(
    ["9" * 5_000, "-1", "0", "1e999", "nan", "inf", "0x" + "f" * 5_000, "1_000", "true", "~", "1e-3"]
)
"""Numbers that are none, or that have too many digits, or a sign too many."""


def mutated(original: bytes, pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes after a few cuts and insertions."""
    changes = st.lists(
        st.tuples(st.integers(0, len(original)), st.integers(0, 30), pieces), min_size=1, max_size=3
    )

    def change(changes: list[tuple[int, int, bytes]]) -> bytes:
        text = original
        for place, cut, piece in changes:
            text = text[:place] + piece + text[place + cut :]
        return text

    return changes.map(change)
