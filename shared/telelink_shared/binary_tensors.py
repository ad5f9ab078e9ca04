"""Tensors as bytes: the binary tensor data extension of the inference protocol.

A message is a JSON object and, right behind it, the bytes of its tensors in the order in which it names them. A header
of HTTP says how long the JSON object is, a parameter of each tensor how many bytes are its own.
Source: https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from telelink_shared.features import Floats, Words

_NUMBERS: Final[Mapping[str, str]] = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "BOOL": "|u1"}
_LENGTH: Final = 4
# Words up to this size, in bytes, are told apart as one number each.
_PACKED: Final = 8


class BadTensor(ValueError):
    """Data that are no tensor of the datatype and number of values that they are said to be.

    Attributes:
        code: for programs.
    """

    def __init__(self, reason: str, *, code: str = "wrong_length") -> None:
        super().__init__(reason)
        self.code = code


def decode(data: bytes | memoryview, datatype: str, n_values: int) -> Floats | Words:
    """The values of a tensor; nothing is made that is larger than a few times its bytes.

    Raises:
        BadTensor
    """
    return decode_words(data, n_values) if datatype == "BYTES" else decode_numbers(data, datatype, n_values)


def decode_numbers(data: bytes | memoryview, datatype: str, n_values: int) -> Floats | Words:
    """Numbers as float64; truth values as words, which in a category they are.

    Raises:
        BadTensor: of another length, or a truth value that is neither 0 nor 1.
    """
    dtype = np.dtype(_NUMBERS[datatype])
    if len(data) != n_values * dtype.itemsize:
        raise BadTensor(f"must have {dtype.itemsize} bytes for each value")
    values = np.frombuffer(data, dtype)
    if datatype != "BOOL":
        return values.astype(np.float64)  # a copy, which is aligned as the bytes need not be
    if (values > 1).any():
        raise BadTensor("must be 0 or 1", code="bad_value")
    return Words((False, True), values.astype(np.intp))


def decode_words(data: bytes | memoryview, n_values: int) -> Words:
    """Words, each sent as its length in four bytes and then itself, in UTF-8.

    Raises:
        BadTensor: the lengths do not add up to so many words, or a word is not UTF-8.
    """
    if len(data) < n_values * _LENGTH:
        raise BadTensor("must have a length of four bytes before each value")
    octets = np.frombuffer(data, np.uint8)
    starts = _starts_of_short_words(octets, n_values)
    if starts is None:
        return _distinct(_one_by_one(bytes(data), n_values))
    lengths = octets[starts - _LENGTH].astype(np.intp)
    longest = int(lengths.max(initial=0))
    if longest > _PACKED:
        return _distinct([bytes(data[start : start + size]) for start, size in zip(starts, lengths, strict=True)])
    packed = np.zeros(n_values, np.uint64)
    for place in range(longest):
        has = lengths > place
        packed[has] |= octets[starts[has] + place].astype(np.uint64) << np.uint64(8 * place)
    # A word may end in a zero byte, so that its length counts too: never here, where no word has one.
    numbers, positions = np.unique(packed, return_inverse=True)
    return Words(tuple(_text(number.tobytes().rstrip(b"\0")) for number in numbers.astype("<u8")), positions)


def _starts_of_short_words(octets: NDArray[np.uint8], n_values: int) -> NDArray[np.intp] | None:
    """Where each word begins, if none has 256 bytes or a zero byte: then the lengths are all there is of these.

    Each length has then three zero bytes, the upper ones. That each word ends where the next length begins is checked,
    so whatever passes is what going from one to the next would have found.
    """
    zeros = np.flatnonzero(octets == 0)
    if len(zeros) != 3 * n_values:
        return None
    starts = zeros[2::3] + 1
    at = starts - _LENGTH
    if n_values == 0 or (at < 0).any() or not np.array_equal(zeros, (at[:, np.newaxis] + (1, 2, 3)).ravel()):
        return None
    ends = starts + octets[at]
    return starts if at[0] == 0 and ends[-1] == len(octets) and np.array_equal(ends[:-1], at[1:]) else None


def _one_by_one(data: bytes, n_values: int) -> list[bytes]:
    words, at = [], 0
    for _ in range(n_values):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise BadTensor("ends within a value")
        words.append(data[start:at])
    if at != len(data):
        raise BadTensor("has more bytes than its values")
    return words


def _distinct(words: Sequence[bytes]) -> Words:
    positions = {word: position for position, word in enumerate(dict.fromkeys(words))}
    indices = np.fromiter(map(positions.__getitem__, words), np.intp, len(words))
    return Words(tuple(_text(word) for word in positions), indices)


def _text(word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        raise BadTensor("must be UTF-8", code="bad_value") from error


def encode_numbers(values: NDArray[Any]) -> bytes:
    """Numbers as FP64."""
    return values.astype("<f8", copy=False).tobytes()


def encode_words(words: Words) -> bytes:
    """Words as BYTES."""
    spelled = [str(word).encode() for word in words.distinct]
    pieces = [len(word).to_bytes(_LENGTH, "little") + word for word in spelled]
    if len(pieces) == 1:
        return pieces[0] * len(words.positions)
    return b"".join(map(pieces.__getitem__, words.positions.tolist()))
