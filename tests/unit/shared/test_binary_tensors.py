import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telelink_shared.binary_tensors import BadTensor, decode, decode_words, encode_numbers, encode_words
from telelink_shared.features import words_of

ALPHABETS = {"plans": ["yes", "no"], "states": ["OH", "NJ", "WV"], "area codes": ["area_code_415", "510", "408"]}


def as_sent(words):
    """As the extension's text describes it, word by word."""
    return b"".join(struct.pack("<I", len(word)) + word for word in words)


def one_by_one(data, n_values):
    """The plain way to read it; None for what is no such tensor."""
    words, at = [], 0
    while at < len(data):
        if len(data) - at < 4:
            return None
        (size,) = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:
            return None
        words.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    try:
        return [word.decode() for word in words] if len(words) == n_values else None
    except UnicodeDecodeError:
        return None


def spelled_out(words):
    return [words.distinct[position] for position in words.positions]


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=list(ALPHABETS))
def test_words_come_out_as_they_went_in(alphabet):
    words = np.random.default_rng(1).choice(alphabet, 1_000).tolist()
    data = encode_words(words_of(words))
    assert data == as_sent([word.encode() for word in words])
    decoded = decode_words(data, len(words))
    assert spelled_out(decoded) == words
    assert len(decoded.distinct) == len(alphabet)


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"yes", b"no", b"OH", b"", b"\0", b"x" * 300]), max_size=40))
def test_any_words_are_read_as_one_by_one(words):
    data = as_sent(words)
    expected = one_by_one(data, len(words))
    if expected is None:
        with pytest.raises(BadTensor):
            decode_words(data, len(words))
    else:
        assert spelled_out(decode_words(data, len(words))) == expected


@given(
    st.lists(st.sampled_from([b"yes", b"no", b"OH", b""]), max_size=8),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
    st.binary(max_size=6),
    st.sampled_from([0, 0, 0, 1, -1]),
)
def test_damaged_bytes_are_read_as_one_by_one_or_refused(words, damage, more, n_missing):
    data = bytearray(as_sent(words) + more)
    for at, value in damage:
        if at < len(data):
            data[at] = value
    n_values = max(0, len(words) - n_missing)
    expected = one_by_one(bytes(data), n_values)
    try:
        found = spelled_out(decode_words(bytes(data), n_values))
    except BadTensor:
        found = None
    assert found == expected


@pytest.mark.parametrize("length", [1, 2, 4, 200])
def test_a_word_that_does_not_end_where_the_next_begins_is_refused(length):
    data = bytearray(as_sent([b"yes", b"yes", b"no"]))
    data[7] = length
    with pytest.raises(BadTensor):
        decode_words(bytes(data), 3)


def test_a_word_that_claims_four_gigabytes_is_refused_without_making_room_for_it():
    with pytest.raises(BadTensor):
        decode_words(b"\xff\xff\xff\xff" + b"x" * 10, 1)


@pytest.mark.parametrize(
    ("datatype", "dtype"), [("FP64", "<f8"), ("FP32", "<f4"), ("INT64", "<i8"), ("INT32", "<i4")], ids=lambda each: each
)
def test_numbers_are_read_from_anywhere_in_a_message(datatype, dtype):
    numbers = np.array([0, 1, 128, 44_640], dtype)
    for at in range(8):
        data = memoryview(bytes(at) + numbers.tobytes())[at:]
        assert decode(data, datatype, 4).tolist() == numbers.tolist()


def test_numbers_come_out_bit_for_bit():
    numbers = np.array([0.1, -0.0, np.nan, np.inf, 5e-324, 1e308])
    assert decode(encode_numbers(numbers), "FP64", 6).tobytes() == numbers.tobytes()


@pytest.mark.parametrize(("datatype", "size"), [("FP64", 8), ("FP32", 4), ("INT64", 8), ("INT32", 4), ("BOOL", 1)])
@pytest.mark.parametrize("missing", [-1, 1])
def test_another_length_is_refused(datatype, size, missing):
    with pytest.raises(BadTensor):
        decode(bytes(3 * size - missing), datatype, 3)


def test_truth_values_are_told_from_numbers():
    assert spelled_out(decode(b"\x01\x00\x01", "BOOL", 3)) == [True, False, True]
    with pytest.raises(BadTensor):
        decode(b"\x02", "BOOL", 1)
