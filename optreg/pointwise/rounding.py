"""Stochastic rounding to bfloat16: up or down at random, so that on average nothing is lost.

A float32 has 16 bits more than a bfloat16. Rounding adds a uniform random number from 0 to 2^16 - 1 to the bits, and
drops the lower 16. So a value moves to the next bfloat16 away from zero with a probability that is exactly its distance
from the one before. Values that bfloat16 can represent, including zero, infinities and NaN, stay the same.

The noise of an element is a function of a key, the element's place and the tensor's role. It is integer arithmetic, so
it is the same on every path, in blocks of any size, on every device. All noise comes from one table: the upper 16 bits
of a permutation of 18-bit numbers. Each tile of elements reads the table from a different start. The key determines the
start of the first tile and the stride to each next one. The key is a hash of the seed, the parameter's index in the
optimizer and the number of the update. So an element's noise is exactly uniform over the places, and adding it to a
block costs one addition.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

_TILE_BITS = 18
TILE = 2**_TILE_BITS
"""Elements of a tile: element e is number e % TILE of tile e // TILE."""

_MIXERS = ((258_533, 8), (159_979, 7), (169_143, 8))
"""Multipliers and shifts, found by random search. With them, the autocorrelation of the table, of its single bits, and
of which entries exceed a threshold is at most 0.01 at any lag, as for a random table."""

_LAG = 97_787
"""The distance between the starts of two tensors of one update in the table."""


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


_Place = TypeVar("_Place", int, Tensor)


def _start(key: _Place, tile: _Place) -> _Place:
    """Where a tile starts in the table, modulo TILE."""
    return key + tile * ((key >> 14) | 1)


def _table(places: Tensor) -> Tensor:
    """The table's entries at `places` below TILE, as int32: each 16-bit number four times, well mixed."""
    x = places ^ (places >> 9)
    for multiplier, shift in _MIXERS:  # each step is a permutation of 18 bits
        x = (x * multiplier) & (TILE - 1)
        x = x ^ (x >> shift)
    return x >> 2


def rounded(wide: Tensor, key: Tensor, role: int) -> Tensor:
    """Round a whole tensor at random to float32 values that bfloat16 can represent.

    Args:
        wide: a flat float32 tensor of less than 2^31 elements, since places are int32.
        key: an int32 tensor of one element.
        role: the tensor's slot in the update.
    """
    places = torch.arange(wide.numel(), dtype=torch.int32, device=wide.device)
    noise = _table((places + _start(key, places >> _TILE_BITS) + role * _LAG) & (TILE - 1))
    bits = ((wide.view(torch.int32) + noise) & ~0xFFFF).view(torch.float32)
    return torch.where(wide != wide, torch.nan, bits)  # the bits of NaN may overflow; isnan() makes a slow kernel


class Noise:
    """The table in memory, for rounding in blocks.

    Args:
        device: the device of the blocks.
    """

    def __init__(self, device: torch.device) -> None:
        table = _table(torch.arange(TILE, dtype=torch.int32, device=device))
        self.table = torch.cat([table, table])


class TensorRounding:
    """Rounds the tensors of one parameter's update, block by block.

    Args:
        key: the update's key.
        roles: the slots of the tensors that are rounded at random.
    """

    def __init__(self, key: int, roles: frozenset[int]) -> None:
        self.key = key
        self.roles = roles

    def store(self, noise: Noise, target: Tensor, wide: Tensor, start: int, role: int) -> None:
        """Round `wide` into `target`. This overwrites `wide`.

        Args:
            noise: the table.
            target: a bfloat16 block.
            wide: its new values, in a floating-point dtype of at least 32 bits.
            start: the place of the block's first element in its tensor.
            role: the tensor's slot in the update.
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


class VectorRounding:
    """Rounds many small tensors in one vector, each as if it were alone.

    Args:
        keys: the key of each tensor's update.
        sizes: the number of elements of each tensor, at most TILE.
        roles: see `TensorRounding`.
        length: the number of elements of the vector, at least the sum of `sizes`.
    """

    def __init__(self, keys: Sequence[int], sizes: Sequence[int], roles: frozenset[int], length: int) -> None:
        self.roles = roles
        lengths = torch.tensor(sizes, device="cpu")
        starts = torch.tensor([_start(key, 0) % TILE for key in keys], dtype=torch.int32, device="cpu")
        begins = (lengths.cumsum(0) - lengths).to(torch.int32)
        self._places = torch.arange(length, dtype=torch.int32, device="cpu")
        self._places[: int(lengths.sum())] += torch.repeat_interleave(starts - begins, lengths)

    def store(self, noise: Noise, target: Tensor, wide: Tensor, start: int, role: int) -> None:
        """See `TensorRounding.store`."""
        bits = _bits(wide)
        places = (self._places.narrow(0, start, wide.numel()) + role * _LAG) & (TILE - 1)
        bits.add_(noise.table[places])
        _store_upper_half(target, bits)


Rounding = TensorRounding | VectorRounding


def _bits(wide: Tensor) -> Tensor:
    """The values' bits. NaN gets bits that do not overflow when noise is added."""
    values = wide if wide.dtype is torch.float32 else wide.float()
    torch.nan_to_num(values, nan=torch.nan, posinf=torch.inf, neginf=-torch.inf, out=values)
    return values.view(torch.int32).view(-1)


def _store_upper_half(target: Tensor, bits: Tensor) -> None:
    bits >>= 16
    target.view(torch.int16).copy_(bits.view(target.shape))
