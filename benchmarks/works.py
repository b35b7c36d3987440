"""The works: lists of parameters to update."""

from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Parameters of some shapes and one dtype."""

    name: str
    shapes: tuple[Shape, ...]
    dtype: torch.dtype = torch.float32

    @property
    def elements(self) -> int:
        """The number of elements in all parameters."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def tensors(self, device: str) -> list[Tensor]:
        """Normally distributed values for every parameter, in new memory."""
        return [torch.randn(shape, dtype=self.dtype, device=device) for shape in self.shapes]


def _gpt2_like(layers: int = 5, width: int = 768) -> tuple[Shape, ...]:
    norm = ((width,), (width,))
    attention = ((3 * width, width), (3 * width,), (width, width), (width,))
    mlp = ((4 * width, width), (4 * width,), (width, 4 * width), (width,))
    return ((12569, width), (1024, width), *(norm + attention + norm + mlp) * layers, *norm)


ONE_LARGE = Work("1 x 32M", ((32 * 2**20,),))
GPT2_LIKE = Work("GPT-2-like", _gpt2_like())
MANY_SMALL = Work("2000 x 64", ((64,),) * 2000)
BFLOAT16 = Work("10 x 1M bfloat16", ((2**20,),) * 10, torch.bfloat16)

WORKS = {work.name: work for work in (ONE_LARGE, GPT2_LIKE, MANY_SMALL, BFLOAT16)}
