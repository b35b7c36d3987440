"""The text: the help topics that every Python installation carries, as characters."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pydoc_data.topics import topics

import torch
from torch import Tensor

HOLD_OUT = 10  # every tenth topic is kept for validation


@dataclass(frozen=True)
class Corpus:
    """A text split in two, as indices into an alphabet."""

    alphabet: str
    train: Tensor
    validation: Tensor

    def decode(self, indices: Tensor) -> str:
        """The text that the indices stand for."""
        return "".join(self.alphabet[index] for index in indices.tolist())

    @cached_property
    def unigram_entropy(self) -> float:
        """Entropy of the characters' frequencies over the whole text, in nats.

        A model that knows how often each character occurs, and nothing about their order, has this loss.
        """
        counts = Counter(torch.cat([self.train, self.validation]).tolist())
        total = counts.total()
        return -sum(n / total * math.log(n / total) for n in counts.values())

    def batches(self, *, size: int, block: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Random windows of the training text, and the same moved on by one character; without end."""
        generator = torch.Generator().manual_seed(seed)
        window = torch.arange(block)
        while True:
            starts = torch.randint(len(self.train) - block, (size, 1), generator=generator)
            yield self.train[starts + window], self.train[starts + window + 1]

    def validation_batches(self, *, size: int, block: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation text from front to back, each character once; less than a block is left over."""
        blocks = (len(self.validation) - 1) // block
        inputs = self.validation[: blocks * block].view(blocks, block)
        targets = self.validation[1 : blocks * block + 1].view(blocks, block)
        return zip(inputs.split(size), targets.split(size), strict=True)


def load_corpus() -> Corpus:
    """Python's help topics; every tenth topic is held out.

    Topics quote one another at length, so each paragraph is kept only where it comes first: no paragraph of
    the validation text occurs in the training text.
    """
    seen: set[str] = set()
    parts: tuple[list[str], list[str]] = [], []
    for index, name in enumerate(sorted(topics)):
        paragraphs = dict.fromkeys(topics[name].split("\n\n"))
        parts[index % HOLD_OUT == 0].append("\n\n".join(p for p in paragraphs if p not in seen))
        seen.update(paragraphs)
    train, validation = ("\n\n".join(texts) for texts in parts)
    alphabet = "".join(sorted({*train, *validation}))
    number = {character: index for index, character in enumerate(alphabet)}
    return Corpus(
        alphabet,
        torch.tensor([number[character] for character in train]),
        torch.tensor([number[character] for character in validation]),
    )
