"""Class attention of every family of ViT against a reference that materialises all attention."""

from __future__ import annotations

import copy
from functools import cache, partial

import pytest
import timm
import torch
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.extraction.attention import (
    EMA_DECAY,
    _attend,
    _is_slow,
    as_vit,
    class_attention,
)
from focusdd.models.device import autocast, cast_weights
from focusdd.settings import ExtractorSettings

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 3, "num_classes": 7}
FAMILIES = {
    # name: (arguments, height and width of the input)
    "test_vit": ({"img_size": 64}, (64, 64)),
    "vit_tiny_patch16_224": ({"img_size": 80}, (80, 80)),
    "deit_tiny_distilled_patch16_224": ({"img_size": 64}, (64, 64)),
    "deit3_small_patch16_224": ({"img_size": 64}, (64, 64)),  # layer scale
    "vit_small_patch14_reg4_dinov2": ({"img_size": 70}, (70, 70)),
    "vit_small_patch16_dinov3": ({"img_size": 64}, (64, 64)),  # registers and rotary embedding
    "vit_base_patch16_clip_224": ({"img_size": 64}, (64, 64)),
    "vit_base_patch16_siglip_224": ({"img_size": 64}, (64, 64)),  # attention pool
    "vit_pe_core_tiny_patch16_384": ({"img_size": 64}, (64, 64)),  # attention pool and class token
    "vit_wee_patch16_reg1_gap_256": ({"img_size": 64}, (64, 64)),  # register, no class token
    "vit_medium_patch16_gap_240": ({"img_size": 64}, (64, 64)),  # no prefix token at all
    "vit_relpos_small_patch16_224": ({"img_size": 64}, (64, 64)),  # no class token, relative positions
    "eva02_tiny_patch14_224": ({"img_size": 70}, (70, 70)),
    "beit_base_patch16_224": ({"img_size": 64}, (64, 64)),  # relative positions
    "flexivit_small": ({"img_size": 64, "dynamic_img_size": True}, (96, 48)),
    "vit_base_patch16_224": ({"img_size": 64, "dynamic_img_size": True}, (80, 112)),
    "vit_base_patch16_dinov3": ({"img_size": 64, "dynamic_img_size": True}, (48, 80)),
}
reading = partial(ExtractorSettings, layers=4, heads="mean")
ALL_OPTIONS = [
    reading(attention="last"),
    reading(attention="mean", layers=2),
    reading(attention="mean", layers=99, heads="max"),
    reading(attention="ema", layers=3),
    reading(attention="rollout"),
    reading(attention="rollout", heads="max"),
]


def randomised(net: nn.Module) -> nn.Module:
    """Weights so large that attention is far from uniform, and no parameter is left at zero or one."""
    generator = torch.Generator().manual_seed(5)
    for name, value in sorted(net.state_dict(keep_vars=True).items()):
        if not isinstance(value, nn.Parameter):
            continue
        noise = torch.randn(value.shape, generator=generator)
        with torch.no_grad():
            if any(word in name for word in ("token", "pos_embed", "latent", "bias_table")):
                value.copy_(noise)
            elif value.ndim > 1:
                value.copy_(noise * 1.5 * value[0].numel() ** -0.5)
            else:
                value.add_(0.3 * noise)
    return net.eval()


@cache
def model(name: str) -> nn.Module:
    arguments, _ = FAMILIES[name]
    small = {} if name == "test_vit" else SMALL
    if name == "vit_pe_core_tiny_patch16_384":
        small = SMALL | {"attn_pool_num_heads": 4}
    return randomised(timm.create_model(name, **arguments, **small))


@cache
def pictures(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@cache
def all_attention(name: str) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Every layer's full attention (B, H, N, N) and the pool's (B, H, 1, N), in double precision."""
    net = copy.deepcopy(model(name)).double()
    seen: list[torch.Tensor] = []
    pool: list[torch.Tensor] = []
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    for block in net.blocks:
        block.attn.attn_drop.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def pooling(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        batch, tokens, width = inputs[0].shape
        heads, channels = module.num_heads, width // module.num_heads
        query = module.q(module.latent).view(1, heads, channels).expand(batch, -1, -1)
        key = module.kv(inputs[0])[..., :width].view(batch, tokens, heads, channels)
        scores = torch.einsum("bhd,bnhd->bhn", module.q_norm(query), module.k_norm(key)) * channels**-0.5
        pool.append(scores.softmax(-1)[:, :, None])

    if getattr(net, "attn_pool", None) is not None:
        net.attn_pool.register_forward_pre_hook(pooling)
    with torch.inference_mode():
        net(pictures(*FAMILIES[name][1]).double())
    return seen, pool[0] if pool else None


def reference(name: str, options: ExtractorSettings) -> torch.Tensor:
    """The class attention (B, h * w), slowly and from the definition."""
    layers, pool = all_attention(name)
    net = model(name)
    prefix = net.num_prefix_tokens
    over_heads = {"mean": lambda full: full.mean(1), "max": lambda full: full.amax(1)}[options.heads]

    def rows(full: torch.Tensor) -> torch.Tensor:
        if net.cls_token is not None:
            return full[:, :, 0]
        # softmax of the mean query's scores: the mean of log-probabilities is the mean score up to a constant
        return full[:, :, prefix:].log().mean(2).softmax(-1)

    if pool is not None:
        row = over_heads(pool)[:, 0]
    elif options.attention == "rollout":
        row = None
        for full in layers:
            one = over_heads(full)
            one = one / one.sum(-1, keepdim=True)
            mixed = (one + torch.eye(one.shape[-1], dtype=one.dtype)) / 2
            row = mixed if row is None else mixed @ row
        row = row[:, 0] if net.cls_token is not None else row[:, prefix:].mean(1)
    elif options.attention == "ema":
        row = torch.zeros(1, dtype=torch.float64)
        for full in layers[-options.layers :]:
            row = EMA_DECAY * row + (1 - EMA_DECAY) * over_heads(rows(full))
    else:
        used = layers[-1:] if options.attention == "last" else layers[-options.layers :]
        row = sum(over_heads(rows(full)) for full in used)
    row = row[:, len(row[0]) - tokens_of(name) :]
    return row / row.sum(1, keepdim=True)


def tokens_of(name: str) -> int:
    (height, width), (p, q) = FAMILIES[name][1], model(name).patch_embed.patch_size
    return (height // p) * (width // q)


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_agrees_with_materialised_attention(name: str) -> None:
    net = model(name)
    images = pictures(*FAMILIES[name][1])
    vit = as_vit(net, name)
    for options in ALL_OPTIONS:
        found, _ = class_attention(vit, images, options)
        wanted = reference(name, options)
        assert wanted.max() > 1.4 / wanted.shape[1], "the reference is nearly uniform: it would hide mistakes"
        (height, width), (p, q) = FAMILIES[name][1], net.patch_embed.patch_size
        assert found.shape == (2, height // p, width // q)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), atol=1e-5, rtol=0)
        assert found.min() >= 0
        error = (found.flatten(1).double() - wanted).abs().max()
        assert error < min(1e-4, 1e-3 * float(wanted.max())), f"{options}: {error}"


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_watching_changes_no_bit_of_the_forward_pass(name: str) -> None:
    net = model(name)
    images = pictures(*FAMILIES[name][1])
    vit = as_vit(net, name)
    plain, logits = net.forward_features(images), net(images)
    for options in (reading(attention="mean"), reading(attention="rollout")):
        _, features = class_attention(vit, images, options)
        assert torch.equal(features, plain)
        assert torch.equal(net.forward_head(features), logits)


def test_options_differ() -> None:
    """The options of the tests above tell layers and heads apart."""
    maps = [reference("vit_tiny_patch16_224", options) for options in ALL_OPTIONS]
    for number, one in enumerate(maps):
        for other in maps[:number]:
            assert (one - other).abs().max() > 5e-4


@torch.inference_mode()
@pytest.mark.parametrize(("row", "column"), [(0, 5), (3, 0), (2, 4)])
def test_rows_and_columns_are_where_the_pixels_are(row: int, column: int) -> None:
    """Without position embedding, only the token of the one odd patch can get another share."""
    net = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, dynamic_img_size=True, depth=1, num_classes=0
    )
    net = randomised(net)
    net.pos_embed.zero_()
    images = torch.zeros(1, 3, 64, 96)
    images[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 2.0
    found, _ = class_attention(as_vit(net, "vit"), images, reading(attention="last"))
    odd = (found[0] - found[0].median()).abs() > 1e-5
    assert odd.nonzero().tolist() == [[row, column]]


@torch.inference_mode()
def test_reduced_precision_reads_about_the_same() -> None:
    name = "vit_tiny_patch16_224"
    images = pictures(*FAMILIES[name][1])
    for options in ALL_OPTIONS:
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = class_attention(as_vit(model(name), name), images, options)
        assert found.dtype == torch.float32
        wanted = reference(name, options)
        assert (found.flatten(1) - wanted).abs().max() < 0.1 * wanted.max()
        torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), atol=1e-5, rtol=0)


NO_VITS = {
    "swin_tiny_patch4_window7_224": {
        "img_size": 56,
        "embed_dim": 16,
        "depths": (1, 1, 2, 1),
        "window_size": 7,
    },
    "resnet10t": {},
    "hiera_tiny_224": {"img_size": (224, 224), "embed_dim": 16, "num_heads": 1},
    "cait_xxs24_224": {"img_size": 64, "depth": 3, "embed_dim": 32},
    "xcit_nano_12_p16_224": {"img_size": 64, "depth": 2, "embed_dim": 32},
    "samvit_base_patch16": {"img_size": 128, "depth": 3, "embed_dim": 32, "num_heads": 2, "window_size": 3},
    "vit_small_patch16_18x2_224": {"img_size": 64, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "vit_dlittle_patch16_reg1_gap_256": {"img_size": 64, "depth": 2, "embed_dim": 64, "num_heads": 2},
    "convit_tiny": {"img_size": 64, "embed_dim": 32},
    "mixer_s16_224": {"img_size": 64},
}


@pytest.mark.parametrize("name", NO_VITS)
@torch.inference_mode()
def test_other_networks_are_refused(name: str) -> None:
    net = timm.create_model(name, **NO_VITS[name]).eval()
    side = NO_VITS[name].get("img_size", 64)
    side = side if isinstance(side, int) else side[0]
    with pytest.raises(FocusError, match=r"class attention of .* cannot be read"):
        class_attention(as_vit(net, name), torch.zeros(2, 3, side, side), reading())


@pytest.mark.parametrize("global_layers", [(), (1,), (0, 1)])
@torch.inference_mode()
def test_layers_that_fold_heads_or_windows_into_the_batch_are_refused(global_layers: tuple[int, ...]) -> None:
    """Even when one head, or a window as large as the image, makes the sizes look right."""
    small = {"img_size": 64, "depth": 2, "embed_dim": 32, "num_heads": 1, "window_size": 2}
    net = timm.create_model("samvit_base_patch16", **small, global_attn_indexes=global_layers).eval()
    with pytest.raises(FocusError, match=r"class attention of .* cannot be read: layer"):
        class_attention(as_vit(net, "sam"), torch.zeros(1, 3, 64, 64), reading(attention="last"))


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_weights_cast_once_change_no_bit_under_autocast(name: str) -> None:
    device, images = torch.device("cpu"), pictures(*FAMILIES[name][1])
    net = copy.deepcopy(model(name))
    with autocast(device):
        wanted = model(name).forward_features(images)
        cast_weights(net, device)
        assert torch.equal(net.forward_features(images), wanted)


@pytest.mark.parametrize("count", [1, 3, 100])
@torch.inference_mode()
def test_matrix_products_attend_as_the_definition_says(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many steps as the scores held at a time ask for."""
    monkeypatch.setattr("focusdd.extraction.attention._MOST_SCORES", count * 2 * 9 * 9)
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(7, 9, 2, 16, generator=generator).transpose(1, 2) for _ in range(3))
    query, key, value = query.bfloat16(), key.bfloat16(), value.bfloat16()
    full = (query.double() @ key.double().transpose(-2, -1) * 0.3).softmax(-1) @ value.double()
    found = _attend(query, key, value, 0.3)
    assert found.dtype == torch.bfloat16
    assert (found - full).abs().max() < 0.03
    found = _attend(query.double(), key.double(), value.double(), 0.3)
    torch.testing.assert_close(found, full)


@torch.inference_mode()
def test_only_plain_attention_in_bfloat16_is_done_otherwise() -> None:
    query = torch.zeros(2, 2, 5, 8, dtype=torch.bfloat16)
    assert _is_slow(query, query, query, attn_mask=None, dropout_p=0.0, is_causal=False, scale=0.5)
    assert not _is_slow(query, query, query, attn_mask=torch.zeros(5, 5, dtype=torch.bfloat16))
    assert not _is_slow(query, query, query, is_causal=True)
    assert not _is_slow(query, query, query, None, 0.0, True)
    assert _is_slow(query, query, query, None, 0.0, False, scale=0.5)
    assert not _is_slow(query[:, :, :1], query, query)
    assert not _is_slow(query.float(), query.float(), query.float())
    large = query.new_zeros(1).expand(1, 2, 3000, 8)
    assert not _is_slow(large, large, large)
