"""HdrHistogram's V2 format: counts that the core recorded, as text that any HdrHistogram library reads.

Source: "V2 encoding" in HdrHistogram's AbstractHistogram: a header of 40 bytes, then each count as a ZigZag
LEB128 number, a run of zeros as its negative length; compressed with zlib, and the whole as base64.
"""

import base64
import struct
import zlib
from collections.abc import Sequence

LOWEST, HIGHEST, SIGNIFICANT_DIGITS = 1, 3_600_000_000_000, 3

_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_HEADER = struct.Struct(">IIIIQQd")
_COMPRESSED_HEADER = struct.Struct(">II")


def encode(counts: Sequence[int]) -> str:
    """The base64 of `counts`, which are in HdrHistogram's order and may end early; the rest are zeros."""
    payload = bytearray()
    zeros = 0
    for count in counts:
        if count == 0:
            zeros += 1
            continue
        if zeros:
            _append(payload, -zeros)
            zeros = 0
        _append(payload, count)
    header = _HEADER.pack(_COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, LOWEST, HIGHEST, 1.0)
    compressed = zlib.compress(header + payload)
    return base64.b64encode(
        _COMPRESSED_HEADER.pack(_COMPRESSED_COOKIE, len(compressed)) + compressed
    ).decode()


def _append(payload: bytearray, number: int) -> None:
    rest = (number << 1) ^ (number >> 63)
    while rest > 0x7F:
        payload.append(rest & 0x7F | 0x80)
        rest >>= 7
    payload.append(rest)
