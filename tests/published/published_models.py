"""Stand-ins for the models of specs/published: the parameters' real names and numbers of dimensions, in a few numbers.

Each line of a model names a module or a parameter, and says what it is. `{0..23}` stands for layers 0 to 23.
"""

import re
from collections.abc import Callable

import torch
from torch import nn


class LayerNorm2d(nn.Module):
    """A norm of images that is no torch.nn.LayerNorm, as in SAM 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = _values(2), _values(2)


def _values(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


KINDS: dict[str, Callable[[], nn.Module | nn.Parameter]] = {
    "conv": lambda: nn.Conv2d(1, 2, 2),
    "conv1d": lambda: nn.Conv1d(1, 2, 2, bias=False),
    "embedding": lambda: nn.Embedding(3, 2),
    "linear": lambda: nn.Linear(2, 2),
    "matrix": lambda: nn.Linear(2, 2, bias=False),
    "norm": lambda: nn.LayerNorm(2),
    "norm2d": LayerNorm2d,
    "rms": lambda: nn.RMSNorm(2),
    "scalar": lambda: _values(),
    "table": lambda: _values(3, 2),
    "token": lambda: _values(1, 1, 2),
    "vector": lambda: _values(2),
}

MODELS = {
    "clip": """
        logit_scale scalar
        positional_embedding table
        token_embedding embedding
        ln_final norm
        visual.class_embedding vector
        visual.conv1 conv
        visual.transformer.resblocks.{0..1}.ln_1 norm
        visual.transformer.resblocks.{0..1}.mlp.c_fc linear
    """,
    "convnext": """
        downsample_layers.0.0 conv
        stages.{0..3}.0.dwconv conv
        stages.{0..3}.0.norm norm
        stages.{0..3}.0.pwconv1 linear
        stages.{0..3}.0.gamma vector
        norm norm
        head linear
    """,
    "deit": """
        cls_token token
        pos_embed token
        patch_embed.proj conv
        blocks.{0..11}.norm1 norm
        blocks.{0..11}.attn.qkv linear
        norm norm
        head linear
    """,
    "dinov2": """
        backbone.cls_token token
        backbone.pos_embed token
        backbone.mask_token table
        backbone.patch_embed.proj conv
        backbone.blocks.{0..3}.{0..5}.norm1 norm
        backbone.blocks.{0..3}.{0..5}.attn.qkv linear
        backbone.blocks.{0..3}.{0..5}.ls1.gamma vector
        backbone.norm norm
        dino_head.mlp.0 linear
        dino_head.last_layer matrix
        ibot_head.mlp.0 linear
        ibot_head.last_layer matrix
    """,
    "dinov3": """
        backbone.cls_token token
        backbone.storage_tokens token
        backbone.mask_token table
        backbone.patch_embed.proj conv
        backbone.blocks.{0..39}.norm1 norm
        backbone.blocks.{0..39}.attn.qkv matrix
        backbone.blocks.{0..39}.attn.proj linear
        backbone.blocks.{0..39}.ls1.gamma vector
        backbone.norm norm
        dino_head.mlp.0 linear
        dino_head.last_layer matrix
        ibot_head.mlp.0 linear
        ibot_head.last_layer matrix
    """,
    "glm": """
        model.embed_tokens embedding
        model.layers.{0..1}.input_layernorm rms
        model.layers.{0..1}.self_attn.q_proj linear
        model.layers.{0..1}.mlp.down_proj matrix
        model.norm rms
        lm_head matrix
    """,
    "gpt-2": """
        transformer.wte embedding
        transformer.wpe embedding
        transformer.h.{0..1}.ln_1 norm
        transformer.h.{0..1}.attn.c_attn linear
        transformer.h.{0..1}.mlp.c_fc linear
        transformer.ln_f norm
    """,
    "llama": """
        model.embed_tokens embedding
        model.layers.{0..1}.input_layernorm rms
        model.layers.{0..1}.self_attn.q_proj matrix
        model.layers.{0..1}.mlp.down_proj matrix
        model.norm rms
        lm_head matrix
    """,
    "mae": """
        cls_token token
        mask_token token
        patch_embed.proj conv
        blocks.{0..23}.norm1 norm
        blocks.{0..23}.attn.qkv linear
        norm norm
        decoder_embed linear
        decoder_blocks.{0..7}.attn.qkv linear
        decoder_pred linear
    """,
    "nanochat": """
        transformer.wte embedding
        transformer.h.{0..1}.attn.c_q matrix
        transformer.h.{0..1}.mlp.c_fc matrix
        lm_head matrix
    """,
    "olmo": """
        transformer.wte embedding
        transformer.blocks.{0..1}.att_proj matrix
        transformer.blocks.{0..1}.attn_norm rms
        transformer.ln_f rms
        transformer.ff_out matrix
    """,
    "olmo-core": """
        embeddings embedding
        blocks.{0..1}.attention.w_q matrix
        blocks.{0..1}.attention_norm rms
        lm_head.norm rms
        lm_head.w_out matrix
    """,
    "roberta": """
        encoder.sentence_encoder.embed_tokens embedding
        encoder.sentence_encoder.layers.{0..1}.self_attn.q_proj linear
        encoder.sentence_encoder.layers.{0..1}.final_layer_norm norm
        encoder.lm_head.dense linear
    """,
    "sam-2": """
        image_encoder.trunk.pos_embed token
        image_encoder.trunk.patch_embed.proj conv
        image_encoder.trunk.blocks.{0..23}.norm1 norm
        image_encoder.trunk.blocks.{0..23}.attn.qkv linear
        image_encoder.neck.convs.0.conv conv
        memory_attention.layers.{0..1}.norm1 norm
        memory_attention.layers.{0..1}.linear1 linear
        sam_mask_decoder.iou_token embedding
        sam_mask_decoder.output_upscaling.1 norm2d
    """,
    "siglit": """
        img.embedding conv
        img.Transformer.encoderblock_0.mlp linear
        txt.embeddings.word_embeddings embedding
        txt.encoder.layer.{0..1}.attention.self.query linear
        t scalar
        b scalar
    """,
    "t5": """
        shared embedding
        encoder.block.{0..1}.layer.0.SelfAttention.q matrix
        encoder.block.{0..1}.layer.0.layer_norm rms
        decoder.block.{0..1}.layer.0.SelfAttention.q matrix
        decoder.final_layer_norm rms
    """,
    "unet": """
        time_embed.0 linear
        input_blocks.0.0 conv
        out.0 norm
        out.2 conv
    """,
    "vit-l": """
        cls_token token
        pos_embed token
        patch_embed.proj conv
        blocks.{0..23}.norm1 norm
        blocks.{0..23}.attn.qkv linear
        fc_norm norm
        head linear
    """,
    "wav2vec2": """
        feature_extractor.conv_layers.0.0 conv1d
        encoder.layers.{0..1}.self_attn.q_proj linear
        encoder.layers.{0..1}.final_layer_norm norm
        final_proj linear
    """,
    "whisper": """
        encoder.conv1 conv1d
        encoder.blocks.{0..1}.attn.query linear
        encoder.blocks.{0..1}.attn_ln norm
        decoder.token_embedding embedding
        decoder.ln norm
    """,
}


def stand_in(name: str) -> nn.Module:
    """A model of `MODELS`, with parameters of its own."""
    model = nn.Module()
    for line in MODELS[name].split("\n"):
        if line.strip():
            path, kind = line.split()
            for each in _numbered(path):
                *parents, last = each.split(".")
                holder = model
                for parent in parents:
                    if parent not in holder._modules:
                        holder.add_module(parent, nn.Module())
                    holder = holder.get_submodule(parent)
                setattr(holder, last, KINDS[kind]())
    return model


def _numbered(path: str) -> list[str]:
    """The path once for each layer."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", path)
    if not found:
        return [path]
    numbers = range(int(found[1]), int(found[2]) + 1)
    return [one for n in numbers for one in _numbered(path.replace(found[0], str(n), 1))]
