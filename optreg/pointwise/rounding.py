"""Stochastic rounding to bfloat16: up or down at random, so that on the average nothing is lost.

A float32 has 16 bits more than a bfloat16. A number from 0 to 2^16 - 1, all of them equally likely, is added to its
bits, and the lower 16 are dropped: a value goes on to the next bfloat16 away from zero with a probability that is
exactly its distance from the one before. What bfloat16 has, zero, infinities and NaN among it, stays what it is.

The noise of an element is a function of a key, the element's place and the role of the tensor, in integer arithmetic
that is the same everywhere: on every path, in blocks of any size, on every device. All there is of noise is one table,
the upper 16 bits of a permutation of 18, that every tile of elements reads from another place on: the first from a
place that the key gives, each further one a stride beyond, which the key gives too. The key is hashed of the seed, the
parameter's place in the optimizer and the number of the update. So an element's noise is exactly uniform over the
places, and a block's costs one addition.
"""

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor

_TILE_BITS = 18
TILE = 2**_TILE_BITS
"""How many elements read the table from one place on: element e is number e % TILE of tile e // TILE."""

_MIXERS = ((258_533, 8), (159_979, 7), (169_143, 8))
"""Multipliers and shifts, searched at random until the table is correlated with itself no more than a table drawn at
random: at most 0.01, at any lag; and so are its single bits, and what is above a threshold."""

_LAG = 97_787
"""How far apart the tensors of an update read the table."""


def key_of(seed: int, place: int, t: int) -> int:
    """The key of a parameter's update number t, as a signed 32-bit integer."""
    return _signed(_mixed64(_mixed64(_mixed64(seed) ^ place) ^ t))


def _mixed64(x: int) -> int:
    """SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), with David Stafford's finalizer."""
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    x &= 2**32 - 1
    return x - 2**32 if x >= 2**31 else x


@overload
def _start(key: int, tile: int) -> int: ...


@overload
def _start(key: Tensor, tile: Tensor) -> Tensor: ...


def _start(key: Any, tile: Any) -> Any:
    """Where a tile begins to read the table; to be taken modulo TILE."""
    return key + tile * ((key >> 14) | 1)


def _table(places: Tensor) -> Tensor:
    """The table's entries, int32, at places below TILE: each number of 16 bits four times, well mixed."""
    x = places ^ (places >> 9)
    for multiplier, shift in _MIXERS:  # each step is a permutation of 18 bits
        x = (x * multiplier) & (TILE - 1)
        x = x ^ (x >> shift)
    return x >> 2


def rounded(wide: Tensor, key: Tensor, role: int) -> Tensor:
    """A whole tensor, rounded at random to float32 values that bfloat16 has.

    Args:
        wide: float32, flat, of less than 2^31 elements: places are counted in int32.
        key: int32, of one element.
        role: the tensor's place among those of the update.
    """
    places = torch.arange(wide.numel(), dtype=torch.int32, device=wide.device)
    noise = _table((places + _start(key, places >> _TILE_BITS) + role * _LAG) & (TILE - 1))
    bits = ((wide.view(torch.int32) + noise) & ~0xFFFF).view(torch.float32)
    return torch.where(wide != wide, torch.nan, bits)  # NaN, whose bits might overflow; isnan() makes a slow kernel


class Noise:
    """The table in memory, for what is rounded in blocks.

    Args:
        device: where the blocks are.
    """

    def __init__(self, device: torch.device) -> None:
        table = _table(torch.arange(TILE, dtype=torch.int32, device=device))
        self.table = torch.cat([table, table])


class TensorRounding:
    """Rounds the tensors of one parameter's update, block by block.

    Args:
        key: the update's key.
        roles: which tensors are rounded at random, by their places in the update.
    """

    def __init__(self, key: int, roles: frozenset[int]) -> None:
        self.key = key
        self.roles = roles

    def store(self, noise: Noise, target: Tensor, wide: Tensor, start: int, role: int) -> None:
        """Round `wide`, whose values are lost, into `target`.

        Args:
            noise: the source.
            target: a bfloat16 block.
            wide: its new values, in a floating-point dtype of at least 32 bits.
            start: the place of the block's first element in its tensor.
            role: the tensor's place in the update.
        """
        bits = _bits(wide)
        done = 0
        while done < wide.numel():
            tile, within = divmod(start + done, TILE)
            length = min(TILE - within, wide.numel() - done)
            place = (within + _start(self.key, tile) + role * _LAG) % TILE
            bits.narrow(0, done, length).add_(noise.table.narrow(0, place, length))
            done += length
        _store_upper_half(target, bits)


class PackRounding:
    """The same for many small tensors in one vector: each is rounded as if it were alone.

    Args:
        keys: the key of each tensor's update.
        sizes: how many elements each has, at most TILE.
        roles: as of `TensorRounding`.
    """

    def __init__(self, keys: Sequence[int], sizes: Sequence[int], roles: frozenset[int]) -> None:
        self.roles = roles
        lengths = torch.tensor(sizes, device="cpu")
        starts = torch.tensor([_start(key, 0) % TILE for key in keys], dtype=torch.int32, device="cpu")
        begins = (lengths.cumsum(0) - lengths).to(torch.int32)
        places = torch.arange(int(lengths.sum()), dtype=torch.int32, device="cpu")
        self._places = places + torch.repeat_interleave(starts - begins, lengths)

    def store(self, noise: Noise, target: Tensor, wide: Tensor, start: int, role: int) -> None:
        """As `TensorRounding.store`."""
        bits = _bits(wide)
        places = (self._places.narrow(0, start, wide.numel()) + role * _LAG) & (TILE - 1)
        bits.add_(noise.table[places])
        _store_upper_half(target, bits)


Rounding = TensorRounding | PackRounding


def _bits(wide: Tensor) -> Tensor:
    """The values' bits, where NaN has those that do not overflow when something is added."""
    values = wide if wide.dtype is torch.float32 else wide.float()
    torch.nan_to_num(values, nan=torch.nan, posinf=torch.inf, neginf=-torch.inf, out=values)
    return values.view(torch.int32).view(-1)


def _store_upper_half(target: Tensor, bits: Tensor) -> None:
    bits >>= 16
    target.view(torch.int16).copy_(bits.view(target.shape))
