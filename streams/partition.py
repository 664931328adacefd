"""Which partition a key belongs to: murmur2, as Kafka's Java and Python clients have it.

The same function everywhere lets a SQLite log be replaced by a Kafka topic of as many partitions
without any user moving to another one.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """MurmurHash2 (Austin Appleby, 2008) with the seed of Kafka's `Utils.murmur2`; 0..2^32 - 1."""
    length = len(data)
    h = _SEED ^ length
    body = length & ~3
    for at in range(0, body, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if body < length:
        h = (h ^ int.from_bytes(data[body:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Partition 0..partitions-1 of a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
