"""The published recipes: what each says at its telling updates, computed by hand from the words of its source.

Every expected value is arithmetic on numbers of the source. A length in tokens, samples or epochs stands as the number of
updates that it becomes: the smallest t such that updates 0 .. t - 1 consume it. That division is in a comment.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import cos, pi, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from published_models import MODELS, stand_in

import optreg

FOLDER = Path(__file__).parents[2] / "specs" / "published"

EXACT = 1e-12
"""Relative: a value is some ten operations in float64, each of which rounds by 1.1e-16. Zeros are exact."""

Line = tuple[int, str, str, Any]
"""At an update, of a parameter, a hyperparameter, its value."""


def lr(parameter: str, values: Mapping[int, float]) -> list[Line]:
    """The rate of a parameter, by update."""
    return [(t, parameter, "lr", value) for t, value in values.items()]


def has(*parameters: str, **settings: Any) -> list[Line]:
    """What parameters have at update 0."""
    return [(0, parameter, key, value) for parameter in parameters for key, value in settings.items()]


@dataclass(frozen=True)
class Recipe:
    """What is asked of a spec.

    Args:
        model: the stand-in, a key of `MODELS`.
        lines: what must hold.
        facts: what the trainer knows.
        frozen: how the names of the parameters begin that do not train at first.
        locked: how the names of those begin that never train.
    """

    model: str
    lines: list[Line]
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    frozen: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()


Q = "model.layers.0.self_attn.q_proj.weight"

# Where a cosine between two levels has gone a fifth, a quarter and a half of its way, the level that it comes from
# weighs (1 + cos 36) / 2, (1 + cos 45) / 2 and 1/2 (in degrees).
FIFTH = (1 + (1 + sqrt(5)) / 4) / 2
QUARTER = (1 + sqrt(0.5)) / 2

RECIPES = {
    "clip-vit-l-14": Recipe(
        "clip",
        [
            # 32 x 400M / 32,768 = 390,625 updates; from 2,000 on a cosine over 388,625, whose fifth is 77,725
            *lr(
                "visual.conv1.weight",
                {
                    0: 0.0,
                    1_000: 2e-4,
                    1_999: 4e-4 * 1_999 / 2_000,
                    2_000: 4e-4,
                    79_725: 4e-4 * FIFTH,
                    390_625: 0.0,
                    400_000: 0.0,
                },
            ),
            *has("visual.conv1.weight", weight_decay=0.2, betas=(0.9, 0.98), eps=1e-6),
            *has("token_embedding.weight", "positional_embedding", weight_decay=0.2),
            *has("ln_final.weight", "visual.conv1.bias", "logit_scale", weight_decay=0),
        ],
    ),
    "convnext-t": Recipe(
        "convnext",
        [
            # 20 and 300 epochs of 312 updates: 6,240 and 93,600. linspace(0, 4e-3, 6_240) has 6,239 steps. The cosine
            # from 6,240 to 93,600 is half way at 49,920.
            *lr(
                "head.weight",
                {
                    0: 0.0,
                    3_120: 4e-3 * 3_120 / 6_239,
                    6_239: 4e-3,
                    6_240: 4e-3,
                    6_241: 1e-6 + (4e-3 - 1e-6) * (1 + cos(pi / 87_360)) / 2,
                    49_920: (4e-3 + 1e-6) / 2,
                    93_600: 1e-6,
                    100_000: 1e-6,
                },
            ),
            *has("stages.0.0.dwconv.weight", "head.weight", weight_decay=0.05, betas=(0.9, 0.999), eps=1e-8),
            *has("stages.0.0.gamma", "stages.3.0.norm.weight", "head.bias", weight_decay=0),
        ],
    ),
    "deepseek-v2": Recipe(
        "llama",
        [
            # 9216 x 4096 = 37,748,736 tokens an update: 60% of 8.1T / 37,748,736 = 128,746.03, 90%: 193,119.05
            *lr(
                Q,
                {
                    0: 0.0,
                    1_000: 1.2e-4,
                    2_000: 2.4e-4,
                    128_746: 2.4e-4,
                    128_747: 7.584e-5,  # 2.4e-4 x 0.316
                    193_119: 7.584e-5,
                    193_120: 2.396544e-5,  # 7.584e-5 x 0.316
                    214_577: 2.396544e-5,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.1, betas=(0.9, 0.95)),
        ],
    ),
    "deepseek-v3": Recipe(
        "llama",
        [
            # 15360 x 4096 = 62,914,560 tokens an update: 10T / 62,914,560 = 158,945.7, 14.3T: 227,292.4,
            # 14.633T: 232,585.3, 14.8T: 235,239.7; the cosine takes 227,293 - 158,946 = 68,347 updates
            *lr(
                Q,
                {
                    0: 0.0,
                    1_999: 2.2e-4 * 1_999 / 2_000,
                    2_000: 2.2e-4,
                    100_000: 2.2e-4,
                    158_946: 2.2e-4,
                    158_947: 2.2e-5 + 1.98e-4 * (1 + cos(pi / 68_347)) / 2,
                    193_119: 2.2e-5 + 1.98e-4 * (1 + cos(pi * 34_173 / 68_347)) / 2,
                    227_293: 2.2e-5,
                    232_585: 2.2e-5,
                    232_586: 7.3e-6,
                    235_240: 7.3e-6,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.1, betas=(0.9, 0.95)),
        ],
    ),
    "deit-b": Recipe(
        "deit",
        [
            # 5 and 300 epochs of 1,251 updates: 6,255 and 375,300. The cosine runs from 0 to 375,300: after the warm-up
            # it has gone 5 / 300 of its way, at 187,650 the half, an epoch before its end 299 / 300.
            *lr(
                "head.weight",
                {
                    0: 1e-6,
                    1_251: 1e-6 + (1e-3 - 1e-6) / 5,
                    6_254: 1e-6 + (1e-3 - 1e-6) * 6_254 / 6_255,
                    6_255: 1e-5 + 9.9e-4 * (1 + cos(pi / 60)) / 2,
                    187_650: 5.05e-4,
                    374_049: 1e-5 + 9.9e-4 * (1 - cos(pi / 300)) / 2,
                    375_300: 1e-5,
                },
            ),
            *has("head.weight", "blocks.11.attn.qkv.weight", weight_decay=0.05, betas=(0.9, 0.999), eps=1e-8),
            *has("cls_token", "pos_embed", "norm.weight", "blocks.0.attn.qkv.bias", weight_decay=0),
        ],
    ),
    "dinov2-vit-l": Recipe(
        "dinov2",
        [
            # 80 and 500 epochs of 1,250 updates: 100,000 and 625,000; linspace(0, peak, 100_000) has 99,999 steps.
            # The peak is 2e-4 sqrt(3072 / 1024) = 2e-4 sqrt(3). The cosine from 100,000 on is half way at 362,500.
            *lr(
                "backbone.blocks.0.0.attn.qkv.weight",
                {
                    0: 0.0,
                    50_000: 2e-4 * sqrt(3) * 50_000 / 99_999,
                    99_999: 2e-4 * sqrt(3),
                    100_000: 2e-4 * sqrt(3),
                    362_500: (2e-4 * sqrt(3) + 1e-6) / 2,
                    625_000: 1e-6,
                },
            ),
            *lr("backbone.patch_embed.proj.weight", {100_000: 4e-5 * sqrt(3), 625_000: 2e-7}),
            *lr("backbone.patch_embed.proj.bias", {100_000: 4e-5 * sqrt(3)}),
            *lr("dino_head.last_layer.weight", {0: 0.0, 1_249: 0.0, 1_250: 2e-4 * sqrt(3) * 1_250 / 99_999}),
            *lr("dino_head.mlp.0.weight", {1_249: 2e-4 * sqrt(3) * 1_249 / 99_999}),
            # the decay goes from 0.04 to 0.2 along a cosine over all 625,000
            *[
                (t, parameter, "weight_decay", value)
                for parameter in ("backbone.blocks.3.5.attn.qkv.weight", "ibot_head.last_layer.weight")
                for t, value in {0: 0.04, 156_250: 0.2 - 0.16 * QUARTER, 312_500: 0.12, 625_000: 0.2}.items()
            ],
            *[
                (t, parameter, "weight_decay", 0)
                for parameter in ("backbone.norm.weight", "backbone.blocks.0.0.ls1.gamma", "dino_head.mlp.0.bias")
                for t in (0, 312_500, 625_000)
            ],
            *has("backbone.cls_token", weight_decay=0.04, betas=(0.9, 0.999), eps=1e-8),
        ],
        frozen=("dino_head.last_layer.", "ibot_head.last_layer."),
    ),
    "dinov3-7b": Recipe(
        "dinov3",
        [
            # 100 epochs of 1,000 updates; the peak is 5e-5 x 4 sqrt(16 x 256 / 1024) = 4e-4; 40 blocks
            *lr("dino_head.mlp.0.weight", {0: 0.0, 50_000: 2e-4, 100_000: 4e-4, 999_999: 4e-4}),
            *lr("backbone.norm.weight", {100_000: 4e-4}),
            *lr("backbone.blocks.39.attn.qkv.weight", {100_000: 4e-4 * 0.98}),
            *lr("backbone.blocks.0.attn.qkv.weight", {100_000: 4e-4 * 0.98**40}),
            *lr("backbone.blocks.0.norm1.weight", {100_000: 4e-4 * 0.98**40}),
            *lr("backbone.cls_token", {100_000: 4e-4 * 0.98**41}),
            *lr("backbone.patch_embed.proj.weight", {50_000: 2e-4 * 0.98**41 * 0.2, 100_000: 4e-4 * 0.98**41 * 0.2}),
            *lr("ibot_head.last_layer.weight", {0: 0.0, 4_999: 0.0, 5_000: 2e-5, 100_000: 4e-4}),
            *has("backbone.blocks.0.attn.qkv.weight", "dino_head.last_layer.weight", weight_decay=0.04),
            *has("backbone.cls_token", weight_decay=0.04, betas=(0.9, 0.99), eps=1e-8),
            *has("backbone.norm.weight", "backbone.blocks.39.ls1.gamma", "dino_head.mlp.0.bias", weight_decay=0),
        ],
        frozen=("dino_head.last_layer.", "ibot_head.last_layer."),
    ),
    "glm-4.5": Recipe(
        "glm",
        [
            # 23T / 64M = 359,375 updates, whose fifth is 71,875
            *lr(
                Q,
                {
                    0: 2.5e-4,
                    71_875: 2.5e-5 + 2.25e-4 * FIFTH,
                    359_375: 2.5e-5,
                    400_000: 2.5e-5,
                },
            ),
            *lr("model.embed_tokens.weight", {0: 2.5e-4, 71_875: 2.5e-5 + 2.25e-4 * FIFTH, 359_375: 2.5e-5}),
            *has(
                Q, "lm_head.weight", momentum=0.95, ns_steps=5, adjust_lr_fn="match_rms_adamw", weight_decay=0.1
            ),
            *has(
                "model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias",
                betas=(0.9, 0.999), weight_decay=0.1,
            ),
        ],
    ),
    "gpt-3-175b": Recipe(
        "llama",
        [
            # 375M / 3.2M = 117.2, 260B / 3.2M = 81,250, 300B / 3.2M = 93,750; half way from 118 to 81,250 is 40,684
            *lr(
                Q,
                {
                    0: 0.0,
                    59: 3e-5,
                    117: 6e-5 * 117 / 118,
                    118: 6e-5,
                    40_684: 3.3e-5,
                    81_250: 6e-6,
                    93_750: 6e-6,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
        ],
    ),
    "kimi-k2": Recipe(
        "llama",
        [
            # 10T / 67M = 149,253.7, 15.5T: 231,343.3, 15.96T: 238,208.96; the cosine takes 231,344 - 149,254 = 82,090
            # updates, and the line 238,209 - 231,344 = 6,865, whose fifth is 1,373
            *lr(
                Q,
                {
                    0: 0.0,
                    250: 1e-4,
                    500: 2e-4,
                    149_254: 2e-4,
                    190_299: 1.1e-4,
                    231_344: 2e-5,
                    232_717: 1.74e-5,  # 2e-5 - 1.3e-5 / 5
                    238_209: 7e-6,
                },
            ),
            *lr("model.embed_tokens.weight", {500: 2e-4, 231_344: 2e-5, 238_209: 7e-6}),
            *has(Q, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5, adjust_lr_fn="match_rms_adamw"),
            *has("model.norm.weight", "lm_head.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
        ],
    ),
    "llama-2-7b": Recipe(
        "llama",
        [
            # 2T / 4M = 500,000 updates; half way from 2,000 on is 251,000
            *lr(
                Q,
                {
                    0: 0.0,
                    1_000: 1.5e-4,
                    1_999: 3e-4 * 1_999 / 2_000,
                    2_000: 3e-4,
                    126_500: 3e-5 + 2.7e-4 * QUARTER,
                    251_000: 1.65e-4,
                    500_000: 3e-5,
                    600_000: 3e-5,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-5),
        ],
    ),
    "llama-3-405b": Recipe(
        "llama",
        [
            # 252M / 4M = 63 updates; (2.87T - 252M) / 8M = 358,718.5, so 358,719, after which 2,870,004M are consumed;
            # (15,599,960M - 2,870,004M) / 16M = 795,622.25: the cosine is cut at 63 + 358,719 + 795,623 = 1,154,405;
            # (15.6T - 2,870,004M) / 16M = 795,624.75: the end is 1,154,407
            *lr(
                Q,
                {
                    0: 0.0,
                    4_000: 4e-5,
                    8_000: 8e-5,
                    308_000: 8e-7 + 7.92e-5 * QUARTER,
                    608_000: 4.04e-5,
                    1_154_404: 8e-7 + 7.92e-5 * (1 + cos(pi * 1_146_404 / 1_200_000)) / 2,
                    1_154_405: 8e-7 + 7.92e-5 * (1 + cos(pi * 1_146_405 / 1_200_000)) / 2,
                    1_154_406: (8e-7 + 7.92e-5 * (1 + cos(pi * 1_146_405 / 1_200_000)) / 2) / 2,
                    1_154_407: 0.0,
                    1_300_000: 0.0,
                },
            ),
        ],
    ),
    "mae-vit-l": Recipe(
        "mae",
        [
            # 40 and 800 epochs of 312 updates: 12,480 and 249,600; half way is 131,040. The peak is 1.5e-4 x 4096 / 256.
            *lr("decoder_pred.weight", {0: 0.0, 6_240: 1.2e-3, 12_480: 2.4e-3, 131_040: 1.2e-3, 249_600: 0.0}),
            *has("patch_embed.proj.weight", "cls_token", weight_decay=0.05, betas=(0.9, 0.95)),
            *has("blocks.23.norm1.weight", "decoder_blocks.0.attn.qkv.bias", weight_decay=0),
        ],
    ),
    "mae-vit-l-finetune": Recipe(
        "vit-l",
        [
            # 5 and 50 epochs of 1,251 updates: 6,255 and 62,550; a fifth of the cosine over 56,295 is 11,259. The peak is
            # 1e-3 x 1024 / 256. Of 24 blocks the last has 0.75, the first 0.75^24, the embeddings 0.75^25.
            *lr(
                "head.weight",
                {0: 0.0, 1_251: 8e-4, 6_255: 4e-3, 17_514: 1e-6 + (4e-3 - 1e-6) * FIFTH, 62_550: 1e-6},
            ),
            *lr("fc_norm.weight", {6_255: 4e-3}),
            *lr("blocks.23.attn.qkv.weight", {1_251: 6e-4, 6_255: 3e-3, 62_550: 7.5e-7}),
            *lr("blocks.0.attn.qkv.weight", {6_255: 4e-3 * 0.75**24}),
            *lr("blocks.0.norm1.bias", {6_255: 4e-3 * 0.75**24}),
            *lr("patch_embed.proj.weight", {6_255: 4e-3 * 0.75**25}),
            *lr("cls_token", {6_255: 4e-3 * 0.75**25}),
            *has("head.weight", "patch_embed.proj.weight", weight_decay=0.05, betas=(0.9, 0.999)),
            *has("pos_embed", "cls_token", "fc_norm.weight", "blocks.0.attn.qkv.bias", weight_decay=0),
        ],
    ),
    "marin-8b": Recipe(
        "llama",
        [
            # an inverse decay to a tenth: at the part x of it the rate is divided by 1 - x + 10 x: half way by 5.5
            *lr(
                Q,
                {
                    0: 0.0,
                    500: 5e-4,
                    1_000: 1e-3,
                    9_000: 1e-3,
                    9_500: 1e-3 / 5.5,
                    9_999: 1e-3 / 9.991,
                    10_000: 1e-3,
                    199_999: 1e-3 / 9.991,
                    200_000: 1e-3,
                    218_000: 1e-3,
                    219_000: 1e-3 / 5.5,
                    220_000: 1e-3,
                    659_999: 1e-3 / 9.9955,
                    660_000: 1.7e-3,
                    740_500: 1.7e-3,
                    780_250: 9.35e-4,  # (1.7e-3 + 1.7e-4) / 2
                    820_000: 1.7e-4,
                    821_000: 9.35e-4,
                    822_000: 1.7e-3,
                    1_320_000: 1.7e-3,
                    1_360_000: 8.585e-4,  # (1.7e-3 + 1.7e-5) / 2
                    1_400_000: 1.7e-5,
                },
            ),
            *has(Q, "lm_head.weight", weight_decay=0.05, betas=(0.9, 0.95), eps=1e-8),
            *has("model.embed_tokens.weight", "model.layers.1.input_layernorm.weight", "model.norm.weight", weight_decay=0),
        ],
    ),
    "minicpm": Recipe(
        "llama",
        [
            # 1T / 3.93M = 254,452.9; 5,000 updates halve the rate; that of matrices is divided by 2304 / 256 = 9
            *lr(
                "model.norm.weight",
                {0: 0.01, 254_452: 0.01, 254_453: 0.01, 259_453: 0.005, 264_453: 0.0025},
            ),
            *lr("model.embed_tokens.weight", {0: 0.01}),
            *lr(Q, {0: 0.01 / 9, 259_453: 0.005 / 9}),
        ],
    ),
    "moonlight-16b": Recipe(
        "llama",
        [
            # 2048 x 8192 = 16,777,216 tokens an update up to 200B: 11,920.9, so 11,921 updates, which consume
            # 200,001,191,936 tokens; then 33,554,432. 5.2T: 11,921 + 149,011.6, so 160,933; 5.7T: 11,921 + 163,912.7, so
            # 175,834. The cosine takes 158,933 updates, the line at the end 175,834 - 161,033 = 14,801, a 19th of which is
            # 779.
            *lr(
                Q,
                {
                    0: 0.0,
                    1_000: 2.1e-4,
                    2_000: 4.2e-4,
                    81_466: 4.2e-5 + 3.78e-4 * (1 + cos(pi * 79_466 / 158_933)) / 2,
                    160_933: 4.2e-5,
                    160_983: 7.1e-5,
                    161_033: 1e-4,
                    161_812: 1e-4 * 18 / 19,
                    175_834: 0.0,
                },
            ),
            *lr("lm_head.weight", {2_000: 4.2e-4, 160_983: 7.1e-5}),
            *has(Q, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5, adjust_lr_fn="match_rms_adamw"),
            *has(
                "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight",
                weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8,
            ),
        ],
    ),
    "nanochat": Recipe(
        "nanochat",
        [
            # the width of d20 is 20 x 64 = 1,280; the last 20% of 21,400 updates are 4,280
            *lr(
                "lm_head.weight",
                {
                    0: 0.004 / sqrt(1280 / 768),
                    17_120: 0.004 / sqrt(1280 / 768),
                    19_260: 0.002 / sqrt(1280 / 768),
                    21_400: 0.0,
                },
            ),
            *lr("transformer.wte.weight", {0: 0.2 / sqrt(1280 / 768), 19_260: 0.1 / sqrt(1280 / 768)}),
            *lr(
                "transformer.h.0.attn.c_q.weight",
                {0: 0.02, 17_120: 0.02, 17_121: 0.02 * 4_279 / 4_280, 19_260: 0.01, 21_399: 0.02 / 4_280},
            ),
            *[
                (t, "transformer.h.1.mlp.c_fc.weight", "momentum", value)
                for t, value in {0: 0.85, 150: 0.9, 299: 0.85 / 300 + 0.95 * 299 / 300, 300: 0.95, 20_000: 0.95}.items()
            ],
            *has(
                "transformer.h.0.attn.c_q.weight",
                weight_decay=0, nesterov=True, ns_steps=5, adjust_lr_fn="original",
            ),
            *has("lm_head.weight", "transformer.wte.weight", betas=(0.8, 0.95), eps=1e-10, weight_decay=0),
        ],
    ),
    "nanogpt-124m": Recipe(
        "gpt-2",
        [
            # half way from 2,000 to 600,000 is 301,000
            *lr(
                "transformer.wte.weight",
                {
                    0: 6e-4 / 2_001,
                    1_999: 6e-4 * 2_000 / 2_001,
                    2_000: 6e-4,
                    301_000: 3.3e-4,
                    600_000: 6e-5,
                    600_001: 6e-5,
                },
            ),
            *has("transformer.wte.weight", "transformer.wpe.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
            *has("transformer.h.0.attn.c_attn.bias", "transformer.ln_f.weight", weight_decay=0),
        ],
    ),
    "nemotron-3-super": Recipe(
        "llama",
        [
            # 3072 x 8192 = 25,165,824 tokens an update: 200B: 7,947.3, 20T: 794,728.6, 25T: 993,410.7; the tail takes
            # 993,411 - 794,729 = 198,682 updates
            *lr(
                Q,
                {
                    0: 0.0,
                    3_974: 2.25e-4,
                    7_948: 4.5e-4,
                    794_729: 4.5e-4,
                    794_730: 4.5e-6 + 4.455e-4 * (1 - sqrt(1 / 198_682)),
                    894_070: 4.5e-6 + 4.455e-4 * (1 - sqrt(0.5)),
                    993_411: 4.5e-6,
                    1_000_000: 4.5e-6,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.1, betas=(0.9, 0.95)),
        ],
    ),
    "nemotron-3-ultra": Recipe(
        "llama",
        [
            # at 25M tokens an update: 200B: 8,000, 15T: 600,000, 20T: 800,000; a quarter of the tail is 50,000
            *lr(Q, {0: 0.0, 4_000: 1.25e-4, 8_000: 2.5e-4, 600_000: 2.5e-4, 650_000: 1.2625e-4, 800_000: 2.5e-6}),
        ],
        facts={"batch": "25M tokens"},
    ),
    "olmo-2-7b-stage-1": Recipe(
        "olmo",
        [
            # 1024 x 4096 = 4,194,304 tokens an update: 8,388,608,000: 2,000, 5T: 1,192,092.9. Update t, the first being 0,
            # takes its rate after t + 1 updates.
            *lr(
                "transformer.blocks.0.att_proj.weight",
                {
                    0: 3e-4 / 2_000,
                    1_999: 3e-4,
                    597_045: 3e-5 + 2.7e-4 * (1 + cos(pi * 595_046 / 1_190_093)) / 2,
                    1_192_092: 3e-5,
                    1_200_000: 3e-5,
                },
            ),
            *has("transformer.ln_f.weight", "transformer.ff_out.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
            *has("transformer.wte.weight", weight_decay=0),
        ],
    ),
    "olmo-2-32b": Recipe(
        "olmo-core",
        [
            # 6.5T / (2048 x 4096) = 774,860.4; update t takes its rate after t + 1 updates
            *lr(
                "blocks.0.attention.w_q.weight",
                {
                    0: 6e-4 / 2_000,
                    1_999: 6e-4,
                    388_429: 6e-5 + 5.4e-4 * (1 + cos(pi * 386_430 / 772_861)) / 2,
                    774_860: 6e-5,
                },
            ),
            *has("blocks.0.attention_norm.weight", "lm_head.w_out.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
            *has("embeddings.weight", weight_decay=0),
        ],
    ),
    "olmo-3-7b": Recipe(
        "olmo-core",
        [
            # 5T / (512 x 8192) = 1,192,092.9; update t takes its rate after t + 1 updates; 597,045 is the last, half way
            *lr(
                "blocks.0.attention.w_q.weight",
                {
                    0: 3e-4 / 2_000,
                    1_999: 3e-4,
                    597_045: 3e-5 + 2.7e-4 * (1 + cos(pi * 595_046 / 1_190_093)) / 2,
                },
            ),
            *has("blocks.0.attention_norm.weight", "lm_head.w_out.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
            *has("embeddings.weight", weight_decay=0),
        ],
    ),
    "roberta-base": Recipe(
        "roberta",
        [
            # from 10,000 to 125,000 a line over 115,000
            *lr(
                "encoder.lm_head.dense.weight",
                {0: 0.0, 5_000: 2.5e-4, 10_000: 5e-4, 67_500: 2.5e-4, 124_999: 5e-4 / 115_000, 125_000: 0.0},
            ),
            *has(
                "encoder.lm_head.dense.bias", "encoder.sentence_encoder.layers.0.final_layer_norm.weight",
                weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6,
            ),
        ],
    ),
    "sam-2.1": Recipe(
        "sam-2",
        [
            # 40 epochs of 500 updates; half way the factor is (1 + 0.1) / 2; of 24 blocks the last has 0.9, the first 0.9^24
            *lr("memory_attention.layers.0.linear1.weight", {0: 5e-6, 10_000: 2.75e-6, 20_000: 5e-7}),
            *lr("image_encoder.neck.convs.0.conv.weight", {0: 3e-6, 10_000: 1.65e-6, 20_000: 3e-7}),
            *lr("image_encoder.trunk.pos_embed", {0: 3e-6}),
            *lr("image_encoder.trunk.blocks.23.attn.qkv.weight", {0: 2.7e-6, 20_000: 2.7e-7}),
            *lr("image_encoder.trunk.blocks.0.norm1.weight", {0: 3e-6 * 0.9**24}),
            *lr("image_encoder.trunk.patch_embed.proj.weight", {0: 3e-6 * 0.9**25}),
            *has("sam_mask_decoder.iou_token.weight", "image_encoder.trunk.pos_embed", weight_decay=0.1),
            *has("sam_mask_decoder.output_upscaling.1.weight", weight_decay=0.1, betas=(0.9, 0.999)),
            *has("sam_mask_decoder.output_upscaling.1.bias", weight_decay=0),
            *has("memory_attention.layers.0.norm1.weight", "memory_attention.layers.0.linear1.bias", weight_decay=0),
        ],
        facts={"epoch": "500 steps"},
    ),
    "siglit": Recipe(
        "siglit",
        [
            # from 6,500 to 65,000 a cosine, half way at 35,750
            *lr("txt.embeddings.word_embeddings.weight", {0: 0.0, 3_250: 5e-5, 6_500: 1e-4, 35_750: 5e-5, 65_000: 0.0}),
            *has("txt.encoder.layer.0.attention.self.query.weight", "t", weight_decay=1e-7, betas=(0.9, 0.99)),
        ],
        locked=("img.",),
    ),
    "smollm-135m": Recipe(
        "llama",
        [
            # 1 - sqrt over the last 100,000: a quarter of them halves the rate
            *lr(
                Q,
                {
                    0: 0.0,
                    2_500: 1.5e-3,
                    5_000: 3e-3,
                    500_000: 3e-3,
                    500_001: 3e-3 * (1 - sqrt(1e-5)),
                    525_000: 1.5e-3,
                    550_000: 3e-3 * (1 - sqrt(0.5)),
                    600_000: 0.0,
                },
            ),
            *has(Q, "model.norm.weight", weight_decay=0.01, betas=(0.9, 0.95), eps=1e-8),
        ],
    ),
    "smollm3-3b": Recipe(
        "llama",
        [
            # the last 10% of 4,720,000 are 472,000
            *lr(
                Q,
                {
                    0: 0.0,
                    1_000: 1e-4,
                    2_000: 2e-4,
                    4_248_000: 2e-4,
                    4_484_000: 1e-4,
                    4_672_800: 2e-5,  # a tenth is left
                    4_720_000: 0.0,
                },
            ),
            *has(Q, "model.norm.weight", "lm_head.weight", weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
            *has("model.embed_tokens.weight", weight_decay=0),
        ],
    ),
    "stable-diffusion-v1": Recipe(
        "unet",
        [
            *lr("out.2.weight", {0: 1e-10, 5_000: (1e-4 + 1e-10) / 2, 10_000: 1e-4, 1_000_000: 1e-4}),
            *has("out.2.weight", "out.0.bias", weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8),
        ],
    ),
    "t5-11b": Recipe(
        "t5",
        [
            # 1 / sqrt(max(n, 10^4)): 1 / sqrt(40,000) = 0.005, 1 / sqrt(10^6) = 0.001
            *lr("shared.weight", {0: 0.01, 10_000: 0.01, 40_000: 0.005, 1_000_000: 0.001}),
            *has("shared.weight", beta2_decay=-0.8, eps=(1e-30, 1e-3), d=1.0, weight_decay=0),
        ],
    ),
    "vit-b-16-imagenet-adamw": Recipe(
        "deit",
        [
            *lr("head.weight", {0: 1e-3, 50_000: 1e-3}),
            *has("head.weight", "norm.weight", weight_decay=1.0, betas=(0.9, 0.999), eps=1e-6),
        ],
    ),
    "vit-b-16-imagenet-lion": Recipe(
        "deit",
        [
            *lr("head.weight", {0: 1e-4, 50_000: 1e-4}),
            *has("head.weight", "norm.weight", weight_decay=10.0, betas=(0.9, 0.99)),
        ],
    ),
    "vit-h-jft": Recipe(
        "deit",
        [
            # 14 x 303M / 4096 = 1,035,644.5; a fifth of the line over 1,025,645 is 205,129
            *lr("head.weight", {0: 0.0, 5_000: 1.5e-4, 10_000: 3e-4, 215_129: 2.4e-4, 1_035_645: 0.0}),
            *has("head.weight", "norm.weight", weight_decay=0.1, betas=(0.9, 0.999)),
        ],
    ),
    "wav2vec2-base": Recipe(
        "wav2vec2",
        [
            # from 32,000 to 400,000 a line, half way at 216,000
            *lr("final_proj.weight", {0: 0.0, 16_000: 2.5e-4, 32_000: 5e-4, 216_000: 2.5e-4, 400_000: 0.0}),
            *has(
                "final_proj.bias", "encoder.layers.0.final_layer_norm.weight",
                weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6,
            ),
        ],
    ),
    "whisper-large": Recipe(
        "whisper",
        [
            # from 2,048 to 2^20 a line, half way at 525,312
            *lr(
                "decoder.token_embedding.weight",
                {0: 0.0, 1_024: 8.75e-5, 2_048: 1.75e-4, 525_312: 8.75e-5, 1_048_576: 0.0},
            ),
            *has("decoder.ln.weight", "encoder.conv1.weight", weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6),
        ],
    ),
}  # fmt: skip

LABELS = "# (published|derived|inherited|not disclosed)"

SPECS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def build(name: str) -> tuple[optreg.Run, dict[str, Any]]:
    """The run of a recipe on its stand-in, and the parameters by name."""
    recipe = RECIPES[name]
    model = stand_in(recipe.model).double()  # which sees the first, smallest rates
    run = optreg.build(FOLDER / f"{name}.yaml", model, facts=recipe.facts)
    return run, dict(model.named_parameters())


def rows() -> Iterator[tuple[str, str]]:
    """The rows of the README's first table that name a spec: the spec, and the row."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
        for name in re.findall(r"\]\(([^)]+)\.yaml\)", row):
            yield name, row


@pytest.mark.parametrize("name", SPECS)
def test_a_recipe_has_the_values_that_its_source_states(name: str) -> None:
    run, parameters = build(name)
    groups = {id(parameter): group for group in run.optimizer.param_groups for parameter in group["params"]}
    lines = RECIPES[name].lines
    for step in sorted({line[0] for line in lines}):
        run.scheduler.step(step)
        for _, parameter, key, value in (line for line in lines if line[0] == step):
            found = groups[id(parameters[parameter])][key]
            wanted = pytest.approx(value, rel=EXACT, abs=0) if isinstance(value, float) else value
            assert found == wanted, f"{key} of {parameter} at update {step:,}"


@pytest.mark.parametrize("name", SPECS)
def test_a_recipe_is_valid_before_the_trainer_says_anything(name: str) -> None:
    optreg.load_spec(FOLDER / f"{name}.yaml")


@pytest.mark.parametrize("name", SPECS)
def test_a_recipe_trains_what_its_source_trains(name: str) -> None:
    _, parameters = build(name)
    still = {each for each, parameter in parameters.items() if not parameter.requires_grad}
    assert still == {each for each in parameters if each.startswith(RECIPES[name].locked)}


@pytest.mark.parametrize("name", SPECS)
def test_the_second_update_of_a_recipe_moves_what_is_not_frozen(name: str) -> None:
    run, parameters = build(name)
    before = {each: parameter.detach().clone() for each, parameter in parameters.items()}
    for _ in range(2):
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
        run.optimizer.step()
        run.scheduler.step()
    moved = {each for each, parameter in parameters.items() if not torch.equal(parameter, before[each])}
    still = (*RECIPES[name].frozen, *RECIPES[name].locked)
    assert moved == {each for each in parameters if not each.startswith(still)}
    assert all(parameter.isfinite().all() for parameter in parameters.values())


@pytest.mark.parametrize("name", SPECS)
def test_a_recipe_names_its_source_in_its_first_lines(name: str) -> None:
    first, second, *_ = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"# .*\.", first)
    assert re.match(r"# Source: .*(arXiv:\d{4}\.\d{5}|github\.com/[\w-]+/[\w-]+|technical report|\")", second)


@pytest.mark.parametrize("name", SPECS)
def test_every_section_with_numbers_says_where_they_are_from(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    sections = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    silent = [each for each in sections if re.search(r": .*\d", each) and not re.search(LABELS, each)]
    assert not silent


def test_every_recipe_has_values_of_its_own_and_a_row_in_the_table() -> None:
    assert SPECS == sorted(RECIPES) == sorted({name for name, _ in rows()})
    assert {recipe.model for recipe in RECIPES.values()} == set(MODELS)
    assert all(any(line[2] == "lr" for line in recipe.lines) for recipe in RECIPES.values())
