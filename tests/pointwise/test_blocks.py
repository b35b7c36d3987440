"""Blocks: every element exactly once, whatever the layout; scratch that is kept; low precision widened and rounded."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from executors import DEVICE, drawn, plain, rotated, strided, transposed
from torch import Tensor

from optreg.pointwise import blocks
from optreg.pointwise.blocks import Workspace

Layout = Callable[[Tensor], Tensor]


def windowed(tensor: Tensor) -> Tensor:
    """The same values inside of a larger tensor."""
    around = tensor.new_full([size + 3 for size in tensor.shape], -7)
    inner = around[tuple(slice(1, size + 1) for size in tensor.shape)]
    return inner.copy_(tensor)


def in_the_middle(tensor: Tensor) -> Tensor:
    """The same values, not at the beginning of their memory."""
    memory = tensor.new_full((tensor.numel() + 8,), -7)
    return memory[5 : 5 + tensor.numel()].view(tensor.shape).copy_(tensor)


LAYOUTS: list[Layout] = [plain, transposed, strided, windowed, rotated, in_the_middle]
SHAPES = [(), (1,), (0,), (3, 0), (7,), (64,), (8, 9), (1, 40), (40, 1), (1, 1, 1), (3, 4, 5), (2, 1, 30), (2, 3, 4, 5)]


def numbered(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float64, device=DEVICE).view(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_every_element_comes_exactly_once_with_its_companions_in_blocks_that_are_small_enough(shape, layout):
    for other, size in itertools.product(LAYOUTS, [1, 5, 13, 10**6]):
        counts, companions = layout(torch.zeros(shape, dtype=torch.float64, device=DEVICE)), other(numbered(shape))
        tags = layout(numbered(shape))
        for count, companion, tag in blocks.walk([counts, companions, tags], size):
            assert count.shape == companion.shape == tag.shape
            assert count.numel() <= size
            assert torch.equal(companion, tag)
            count += 1
        assert torch.equal(counts, torch.ones(shape, dtype=torch.float64, device=DEVICE)), (other.__name__, size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("per_thread", [1, 3, 2**17])
def test_tensors_of_any_layouts_are_updated_alike(shape, per_thread, monkeypatch):
    monkeypatch.setattr(blocks, "PER_THREAD", per_thread)

    def body(p, g, m):
        m += 2 * g
        p -= m

    for layouts in itertools.product(LAYOUTS, LAYOUTS, LAYOUTS):
        tensors = [layout(numbered(shape) + offset) for offset, layout in enumerate(layouts)]
        blocks.run(tensors, lambda take: body, torch.float64, Workspace())
        m = numbered(shape) + 2 + 2 * (numbered(shape) + 1)
        assert torch.equal(tensors[2], m), layouts
        assert torch.equal(tensors[1], numbered(shape) + 1), "the gradient was written to"
        assert torch.equal(tensors[0], numbered(shape) - m), layouts


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_what_lies_between_the_elements_stays_untouched(layout):
    tensor = layout(numbered((3, 4, 5)))
    before = torch.empty(0, dtype=torch.float64, device=DEVICE).set_(tensor.untyped_storage()).clone()
    blocks.run([tensor, tensor.clone()], lambda take: lambda p, g: p.add_(1000), torch.float64, Workspace())
    after = torch.empty(0, dtype=torch.float64, device=DEVICE).set_(tensor.untyped_storage())
    assert torch.equal(after, torch.where(before == -7, before, before + 1000))


def test_dense_tensors_of_one_order_are_vectors_over_the_same_memory():
    picture = torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for tensor in (
        torch.zeros(4, 5),
        torch.zeros(4, 5).t(),
        picture,
        torch.zeros(()),
        torch.zeros(0),
        torch.zeros(6)[1:],
    ):
        flat = blocks.flattened([tensor, tensor.clone()])
        assert flat is not None
        assert [vector.shape for vector in flat] == [(tensor.numel(),)] * 2
        assert flat[0].data_ptr() == tensor.data_ptr()
    assert blocks.flattened([torch.zeros(4, 5), torch.zeros(5, 4).t()]) is None
    assert blocks.flattened([torch.zeros(4, 5).t(), torch.zeros(5, 4)]) is None
    assert blocks.flattened([torch.zeros(8, 5)[::2], torch.zeros(4, 5)]) is None
    assert blocks.flattened([torch.zeros(5).expand(4, 5), torch.zeros(5).expand(4, 5)]) is None


def test_a_parameter_whose_elements_share_memory_is_refused_as_torch_does():
    shared = torch.zeros(1).expand(4)
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        blocks.run([shared, torch.ones(4)], lambda take: lambda p, g: p.add_(g), torch.float32, Workspace())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_low_precision_is_computed_in_wide_and_rounded_once(dtype, layout, monkeypatch):
    monkeypatch.setattr(blocks, "PER_THREAD", 5)
    random = torch.Generator().manual_seed(0)
    start, grad = (drawn((6, 7), random, dtype) for _ in range(2))
    mean = drawn((6, 7), random, torch.float32)

    def body(p, g, m):
        assert p.dtype is g.dtype is m.dtype is torch.float32
        m += 0.1 * g
        p += 0.1 * m
        g.zero_()  # a copy: the gradient itself stays

    tensors = [layout(start), layout(grad), layout(mean)]
    blocks.run(tensors, lambda take: body, torch.float32, Workspace())
    wide = mean + 0.1 * grad.float()
    assert torch.equal(tensors[2], wide)
    assert torch.equal(tensors[0], (start.float() + 0.1 * wide).to(dtype))
    assert torch.equal(tensors[1], grad)


def test_scratch_is_kept_and_that_of_another_purpose_is_other_memory():
    workspace, cpu = Workspace(), torch.device("cpu")

    def take(purpose, shape, count, dtype=torch.float32):
        return workspace.take(purpose, torch.Size(shape), cpu, count, dtype)

    first = take("scratch", (4, 5), 2)
    assert [tensor.shape for tensor in first] == [(4, 5)] * 2
    again = take("scratch", (3,), 3)
    assert [tensor.data_ptr() for tensor in again[:2]] == [tensor.data_ptr() for tensor in first]
    others = [*take("wide", (4, 5), 2), *take("scratch", (4, 5), 2, torch.float64), *again]
    assert len({tensor.data_ptr() for tensor in others}) == len(others)
    (larger,) = take("scratch", (100,), 1)
    assert larger.shape == (100,)
    assert take("scratch", (), 1)[0].shape == ()
    assert take("scratch", (0, 3), 1)[0].shape == (0, 3)
    assert take("scratch", (5,), 0) == []
