"""Packs: content-addressed files of many users' heads, one row per user.

A pack is a safetensors file named by the sha256 of its bytes,
`<root>/packs/<sha[:2]>/<sha>.safetensors`:

| tensor | dtype, shape | holds |
|---|---|---|
| `heads` | float32 [U, P] | mean [A, m], then lower triangles of covariance [A, m(m+1)/2] |
| `user_bytes` | uint8 [B] | the users' ids in UTF-8, one after another, in sorted order |
| `user_offsets` | int64 [U + 1] | row u's id is `user_bytes[offsets[u]:offsets[u + 1]]` |

One matrix, because a tensor per user makes the header grow with the users and opening slow. Each
row has its owner's id, and `Pack.head` wants to hear it: a row number does not say whose it is.
"""

from paaplus.packs.layout import pack_path, population_path
from paaplus.packs.reading import Pack, PackStore, open_pack
from paaplus.packs.writing import write_pack

__all__ = [
    "Pack",
    "PackStore",
    "open_pack",
    "pack_path",
    "population_path",
    "write_pack",
]
