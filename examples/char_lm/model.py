"""A small GPT: characters in, a distribution over the next character out at every position."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)


class Attention(nn.Module):
    """Causal self-attention: every position looks at itself and at what came before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same."""
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    """Attention mixes positions, the MLP works on each; both add to the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """A decoder-only transformer with learned positions; the output layer shares the embedding's weight.

    Args:
        characters: the size of the alphabet.
        block: the longest context, in characters.
        layers: how many blocks.
        heads: attention heads in each block.
        width: the residual stream's width.
    """

    def __init__(self, characters: int, *, block: int = 64, layers: int = 4, heads: int = 4, width: int = 128) -> None:
        super().__init__()
        self.block = block
        self.token_embedding = nn.Embedding(characters, width)
        self.position_embedding = nn.Embedding(block, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        self.head.weight = self.token_embedding.weight

        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                # What adds to the stream does so twice a block: shrink it, and the sum keeps its scale.
                adds = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if adds else 0.02)

    def forward(self, indices: Tensor) -> Tensor:
        """(batch, time) character indices to (batch, time, characters) logits of the character after each."""
        x = self.token_embedding(indices) + self.position_embedding.weight[: indices.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per character."""
        return F.cross_entropy(self(inputs).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(self, indices: Tensor, length: int, *, seed: int) -> Tensor:
        """Continue one text, (time,), by `length` characters drawn from the model's own distribution."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(length):
            logits = self(indices[None, -self.block :])[0, -1]
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            indices = torch.cat([indices, drawn])
        return indices
