"""Stochastic rounding: unbiased, of the right variance, independent, exact where it is exact, and alike in all pieces.

All of it is deterministic: the noise is a function of seed, place, update and element. "Within 5 standard errors" is
what an ideal source of noise would keep to but once in two million.
"""

import itertools

import pytest
import torch
from torch import Tensor

from optreg.pointwise.blocks import Workspace
from optreg.pointwise.blocks import run as run_blocks
from optreg.pointwise.rounding import TILE, Noise, TensorRounding, VectorRounding, key_of, rounded

pytestmark = pytest.mark.cpu

ROLES = frozenset({0, 2, 3})
NOISE = Noise(torch.device("cpu"))
HALF = 1 + 2.0**-8  # between two neighbours in bfloat16


def key(number: int) -> Tensor:
    return torch.tensor([number], dtype=torch.int32)


def bits(values: list[int]) -> Tensor:
    """float32 numbers, by their bits."""
    return torch.tensor(values).to(torch.int32).view(torch.float32)


def coins(count: int, number: int, role: int = 0) -> Tensor:
    """For each element +1 if a value in the middle of two neighbours goes up, else -1."""
    values = rounded(torch.full((count,), HALF), key(number), role)
    assert torch.isin(values, torch.tensor([1.0, 1 + 2.0**-7])).all()
    return torch.where(values > HALF, 1.0, -1.0).double()


def blockwise(wide: Tensor, how: TensorRounding | VectorRounding, size: int, role: int = 0) -> Tensor:
    target = torch.empty(wide.shape, dtype=torch.bfloat16)
    for start in range(0, wide.numel(), size):
        piece = wide[start : start + size].clone()
        how.store(NOISE, target[start : start + size], piece, start, role)
    return target


# Its statistics


def test_the_table_has_every_number_equally_often():
    table = NOISE.table[:TILE]
    assert torch.equal(table.sort().values, torch.arange(2**16, dtype=torch.int32).repeat_interleave(TILE // 2**16))
    assert torch.equal(NOISE.table[TILE:], table)


@pytest.mark.parametrize("scale", [1.0, -1.0, 2.0**-100, -(2.0**-100), 1e-39, -1e-39, 2.0**100, -(2.0**100)], ids=str)
def test_rounding_is_unbiased_and_its_variance_that_of_a_coin(scale):
    """1e-39 is below the smallest normal float32: there the steps of bfloat16 are all alike."""
    random = torch.Generator().manual_seed(0)
    count = 2**18
    wide = (1 + torch.rand(count, generator=random)) * scale
    result = rounded(wide.clone(), key(77), 0)
    below = (wide.view(torch.int32) & ~0xFFFF).view(torch.float32).double()
    above = ((wide.view(torch.int32) & ~0xFFFF) + 0x10000).view(torch.float32).double()
    up = (wide.double() - below) / (above - below)
    went = (result.double() - below) / (above - below)
    assert torch.isin(went, torch.tensor([0.0, 1.0]).double()).all()
    variance = up * (1 - up)
    error = went - up
    assert error.sum().abs() <= 5 * variance.sum().sqrt()
    spread = ((error**2 - variance) ** 2).sum().sqrt()
    assert (error**2 - variance).sum().abs() <= 5 * spread


@pytest.mark.parametrize("numerator", [1, 100, 0x4000, 0x8000, 0xFFFF])
def test_of_a_whole_tile_exactly_so_many_go_up_as_the_value_is_above(numerator):
    wide = bits([0x3F800000 + numerator]).expand(3 * TILE).contiguous()
    assert (rounded(wide, key(5), 2) > 1.0).sum() == 3 * TILE // 2**16 * numerator


def test_every_element_goes_up_as_often_over_the_updates_as_it_should():
    """4096 updates of 64 elements: each within 5 standard errors, and their squares on the average one."""
    updates = 4096
    ups = torch.zeros(64).double()
    quarter = torch.full((64,), 1 + 2.0**-9)
    for t in range(updates):
        ups += rounded(quarter, key(key_of(0, 3, t)), 0) > 1.0
    z = (ups - updates / 4) / (updates * 3 / 16) ** 0.5
    assert z.abs().max() <= 5
    assert abs((z**2).mean() - 1) <= 5 * (2 / 64) ** 0.5


def correlation(left: Tensor, right: Tensor) -> float:
    return float((left * right).mean().abs())


KEYS = {
    "updates": [key_of(0, 0, t) for t in range(1, 6)],
    "parameters": [key_of(0, place, 1) for place in range(5)],
    "seeds": [key_of(seed, 0, 1) for seed in [0, 1, 2, 2**32, 2**63 - 1]],
    "parameters and updates": [key_of(0, place, 10 - place) for place in range(5)],
}


@pytest.mark.parametrize("among", [*KEYS, "roles"])
def test_updates_parameters_seeds_and_roles_are_independent_of_each_other(among):
    count = TILE
    several = [coins(count, number) for number in KEYS.get(among, [])] or [coins(count, 7, r) for r in (0, 2, 3, 4, 5)]
    assert all(correlation(a, b) <= 5 / count**0.5 for a, b in itertools.combinations(several, 2))
    for lag in (1, 2, 17) if among in KEYS else ():
        assert all(
            correlation(a[lag:], b[:-lag]) <= 5 / (count - lag) ** 0.5 for a, b in itertools.permutations(several, 2)
        )


def test_one_elements_updates_are_independent_of_each_other():
    several = torch.stack([coins(8, key_of(1, 2, t)) for t in range(8192)])
    for lag in (1, 2, 3, 10):
        products = several[lag:] * several[:-lag]
        assert products.mean(0).abs().max() <= 5 / products.shape[0] ** 0.5


def test_neighbours_and_tiles_are_independent_of_each_other():
    noise = coins(8 * TILE, 99)
    for lag in (1, 2, 3, 4, 8, 16, 64, 256, 1024, 4096, 2**15, TILE, TILE + 1, 2 * TILE):
        left, right = noise[lag : lag + TILE], noise[:TILE]
        assert correlation(left, right) <= 5 / TILE**0.5, lag


def test_keys_differ_wherever_seed_place_or_update_do():
    grid = itertools.product([0, 1, 2**40, 2**63 - 1], range(20), [1, 2, 3, 1000, 2**24])
    keys = [key_of(*where) for where in grid]
    assert len(set(keys)) == len(keys)
    assert all(-(2**31) <= number < 2**31 for number in keys)


# What is exact


def test_all_of_bfloat16_stays_what_it_is():
    """Zeros of both signs, infinities and the numbers below the smallest normal one included."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    wide = every.float()
    for result in (rounded(wide.clone(), key(3), 0).bfloat16(), blockwise(wide, TensorRounding(3, ROLES), 10**6)):
        assert torch.equal(result.isnan(), every.isnan())
        assert torch.equal(result.view(torch.int16)[~every.isnan()], every.view(torch.int16)[~every.isnan()])


NANS = [0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF80FFFF]


@pytest.mark.parametrize("pattern", NANS, ids=hex)
def test_nan_stays_nan_whatever_its_bits_are(pattern):
    """0x7FFFFFFF is the NaN of NVIDIA's arithmetic, 0xFFFFFFFF that of some vectorized functions on the CPU."""
    wide = bits([pattern] * 1000)
    assert wide.isnan().all()
    assert rounded(wide.clone(), key(1), 0).isnan().all()
    assert blockwise(wide, TensorRounding(1, ROLES), 10**6).isnan().all()
    assert blockwise(wide, VectorRounding([1, 2], [400, 600], ROLES, 1000), 10**6).isnan().all()


def test_a_value_goes_to_one_of_its_two_neighbours():
    random = torch.Generator().manual_seed(0)
    wide = torch.randint(-(2**31), 2**31, (2**16,), generator=random).to(torch.int32).view(torch.float32)
    wide = wide[wide.isfinite() & (wide.abs() < 3.3e38)]
    result = rounded(wide.clone(), key(9), 0)
    step = (result.view(torch.int32) & ~0xFFFF) - (wide.view(torch.int32) & ~0xFFFF)
    assert torch.isin(step, torch.tensor([0, 0x10000])).all()
    assert torch.equal(result, result.bfloat16().float())


# The same in all pieces


@pytest.mark.parametrize("size", [1, 7, 1000, TILE - 1, TILE, TILE + 1, 2 * TILE, 10**6])
@pytest.mark.parametrize("role", [0, 2, 3])
def test_blocks_of_any_size_are_rounded_as_the_whole_is(size, role):
    count = 2 * TILE + 123 if size >= 1000 else 500
    wide = torch.randn(count, generator=torch.Generator().manual_seed(0))
    for number in (key_of(0, 0, 1), -1, 2**31 - 1):
        wanted = rounded(wide.clone(), key(number), role)
        assert torch.equal(blockwise(wide, TensorRounding(number, ROLES), size, role).float(), wanted)


def test_a_block_around_the_border_of_two_tiles_is_rounded_as_the_whole_is():
    wide = torch.randn(3 * TILE, generator=torch.Generator().manual_seed(0))
    wanted = rounded(wide.clone(), key(5), 2)
    for start, end in [(TILE - 3, TILE + 3), (TILE, TILE + 1), (5, 2 * TILE + 5), (2 * TILE - 1, 2 * TILE), (7, 7)]:
        target = torch.empty(end - start, dtype=torch.bfloat16)
        TensorRounding(5, ROLES).store(NOISE, target, wide[start:end].clone(), start, 2)
        assert torch.equal(target.float(), wanted[start:end])


@pytest.mark.parametrize(
    "sizes", [[5], [1, 1, 1], [3, 1000, 1, 64, 2**14, 17], [7] * 50], ids=lambda s: f"{len(s)} of {max(s)}"
)
@pytest.mark.parametrize("block", [1, 13, 10**6])
def test_a_pack_is_rounded_as_each_is_alone(sizes, block):
    if block == 1 and max(sizes) > 1000:
        block = 997
    keys = [key_of(3, place, 4 + place) for place in range(len(sizes))]
    wides = [torch.randn(size, generator=torch.Generator().manual_seed(size)) for size in sizes]
    for role in sorted(ROLES):
        alone = [rounded(wide.clone(), key(number), role) for wide, number in zip(wides, keys, strict=True)]
        packed = blockwise(torch.cat(wides), VectorRounding(keys, sizes, ROLES, sum(sizes)), block, role)
        assert torch.equal(packed.float(), torch.cat(alone))


def test_float64_is_rounded_as_the_float32_nearest_to_it():
    wide = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(blockwise(wide, TensorRounding(5, ROLES), 10**6).float(), rounded(wide.float(), key(5), 0))


def test_only_the_roles_that_are_named_are_rounded_at_random():
    low = [torch.ones(1000, dtype=torch.bfloat16) for _ in range(4)]

    def body(*tensors):
        for tensor in tensors:
            tensor.fill_(HALF)

    run_blocks(low, lambda take: body, torch.float32, Workspace(), TensorRounding(5, frozenset({0, 3})))
    assert [len(tensor.unique()) for tensor in low] == [2, 1, 1, 2]
    assert torch.equal(low[1], torch.ones(1000, dtype=torch.bfloat16)), "the gradient was written to"
    assert not torch.equal(low[0], low[3])


def noise(number: int, element: int, role: int) -> int:
    """The noise of an element, in Python's integers."""
    start = number + (element // 2**18) * ((number >> 14) | 1)
    place = (element + start + 97_787 * role) % 2**18
    entry = place ^ (place >> 9)
    for multiplier, shift in ((258_533, 8), (159_979, 7), (169_143, 8)):
        entry = entry * multiplier % 2**18
        entry ^= entry >> shift
    return entry >> 2


def test_noise_is_integer_arithmetic_that_is_the_same_on_every_machine():
    """So that a run goes on the same on another: these numbers are as good as a file format."""
    assert [key_of(0, 0, 1), key_of(1, 2, 3), key_of(2**63 - 1, 10**6, 10**9)] == [-1765376928, -35429709, -884613613]
    wide = torch.full((2 * TILE,), HALF)
    for number, role in itertools.product([key_of(0, 0, 1), 2**31 - 1, -(2**31)], [0, 3]):
        up = rounded(wide.clone(), key(number), role) > HALF
        for element in (0, 1, 2, 1000, TILE - 1, TILE, TILE + 1, 2 * TILE - 1):
            assert up[element] == (noise(number, element, role) >= 0x8000), (number, role, element)
