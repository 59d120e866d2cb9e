"""Short opaque ids: a keyed permutation of a counter, in base32, so that none can collide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ALPHABET = np.frombuffer(b"0123456789abcdefghjkmnpqrstvwxyz", dtype=np.uint8)
_ROUNDS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def opaque_ids(prefix: str, count: int, digits: int, seed: int) -> npt.NDArray[np.bytes_]:
    """`count` distinct ids of one prefix letter and `digits` base32 digits, shape (count,).

    Each round adds a key, multiplies by an odd number and folds the high half into the low one,
    modulo 2^(5 digits): every step is a bijection, so distinct counters give distinct ids
    (the finaliser of splitmix64, Steele, Lea & Flood 2014, on fewer bits). The letter in front
    keeps an id from being read as a number.
    """
    bits = 5 * digits
    if count > 1 << bits:
        raise ValueError(f"{count} ids do not fit {digits} base32 digits; give more digits")
    mask = np.uint64((1 << bits) - 1)
    keys = np.random.Generator(np.random.PCG64([seed, ord(prefix)])).integers(
        0, 1 << 63, size=len(_ROUNDS), dtype=np.uint64
    )
    x = np.arange(count, dtype=np.uint64)
    for key, odd in zip(keys, _ROUNDS, strict=True):
        x = (x + key) & mask
        x = (x * np.uint64(odd)) & mask
        x ^= x >> np.uint64(bits // 2)
    text = np.empty((count, digits + 1), dtype=np.uint8)
    text[:, 0] = ord(prefix)
    for place in range(digits):
        shift = np.uint64(5 * (digits - 1 - place))
        text[:, place + 1] = _ALPHABET[((x >> shift) & np.uint64(31)).astype(np.intp)]
    return text.view(f"S{digits + 1}").ravel()
