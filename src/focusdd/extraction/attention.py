"""Class attention of a timm ViT: where the class token looks, without the N x N matrix.

The forward pass keeps the fused attention kernel, or on a CPU what is faster there. A torch function mode
sees every call of that kernel, with the very queries and keys it is given (after normalisation and rotary
embedding), and computes the class token's row beside it: softmax(q_cls K^T), a 1/N-th of the full matrix.

Letters: B images, H heads, N tokens, P prefix tokens (class, distillation, registers), d channels per head,
(h, w) grid of image tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from focusdd.core.errors import FocusError
from focusdd.settings import ExtractorSettings

EMA_DECAY = 0.99  # of LF-ViT's global class attention
_MOST_SCORES = 2**23  # of query and key that `_attend` holds at a time, 16 MB


@dataclass(frozen=True)
class ViT:
    """What has to be known of a network to read its class attention."""

    net: nn.Module
    depth: int
    prefix: int
    query: Literal["class", "mean", "pool"]
    """Whose attention it is: the class token's, the mean over image tokens, or the attention pool's."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) image tokens of an input of this size in pixels."""
        h, w = self.net.patch_embed.dynamic_feat_size((height, width))  # type: ignore[union-attr,operator]
        return int(h), int(w)


def as_vit(net: nn.Module, name: str) -> ViT:
    """Checks that a network is a ViT whose attention can be read.

    Raises:
        FocusError: it is not.
    """
    blocks = getattr(net, "blocks", None)
    embed = getattr(net, "patch_embed", None)
    if not isinstance(blocks, (nn.Sequential, nn.ModuleList)) or not hasattr(embed, "dynamic_feat_size"):
        raise FocusError(
            f"the class attention of {name!r} cannot be read: it is no plain ViT. Use a ViT, DeiT, DINO, "
            "CLIP, SigLIP or EVA model of timm"
        )
    prefix = int(getattr(net, "num_prefix_tokens", 0))
    query: Literal["class", "mean", "pool"] = "mean"
    if getattr(net, "attn_pool", None) is not None:
        query = "pool"
    elif getattr(net, "cls_token", None) is not None and prefix > 0:
        query = "class"
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True  # type: ignore[assignment]
    return ViT(net, len(blocks), prefix, query)


class _Watch(TorchFunctionMode):
    """Sees every call of the fused kernel during one forward pass and keeps what the aggregate needs."""

    def __init__(self, vit: ViT, batch: int, tokens: int, settings: ExtractorSettings) -> None:
        super().__init__()
        self.vit, self.batch, self.tokens = vit, batch, tokens
        self.calls = 0
        self.problem = ""
        self.rows: list[torch.Tensor] = []
        """Per layer used, the class row (B, H, N)."""
        self.layers: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, float]] = []
        """For rollout, per layer: queries, keys, bias, scale."""
        self.rollout = settings.attention == "rollout" and vit.query != "pool"
        used = 1 if settings.attention == "last" else min(settings.layers, vit.depth)
        self.first = 0 if self.rollout else vit.depth - used

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key = args[0], args[1]
            bias = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
            if bias is not None and bias.dtype == torch.bool:
                bias = torch.zeros(bias.shape, device=bias.device).masked_fill(~bias, -torch.inf)
            scale = kwargs.get("scale") or query.shape[-1] ** -0.5
            with torch.autocast(query.device.type, enabled=False):
                self._see(query, key, bias, scale)
            self.calls += 1
            if _is_slow(*args, **kwargs):
                return _attend(query, key, args[2], scale)
        return func(*args, **kwargs)

    def _see(self, query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None, scale: float) -> None:
        prefix, kind = self.vit.prefix, self.vit.query
        pooling = kind == "pool" and self.calls == self.vit.depth
        lengths = (self.tokens, prefix + self.tokens) if pooling else (prefix + self.tokens,)
        if key.ndim != 4 or key.shape[0] != self.batch or key.shape[-2] not in lengths:
            seen = f"groups of {key.shape[-2]} tokens, not over all {lengths[-1]}"
            self.problem = f"layer {self.calls} attends over {seen}"
        elif pooling:
            self.rows.append(_row(query.mean(-2, keepdim=True), key, None, scale))
        elif kind == "pool":
            return
        elif self.rollout:
            self.layers.append((query, key, bias, scale))
        elif self.first <= self.calls < self.vit.depth:
            asking = slice(0, 1) if kind == "class" else slice(prefix, None)
            row_bias = None if bias is None else bias[..., asking, :].mean(-2, keepdim=True)
            self.rows.append(_row(query[..., asking, :].mean(-2, keepdim=True), key, row_bias, scale))


def class_attention(
    vit: ViT, images: torch.Tensor, settings: ExtractorSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """One forward pass: where the class token looks, and the final tokens.

    Args:
        images: normalised (B, 3, S, S).

    Returns:
        Attention float32 (B, h, w), each summing to 1, and the features (B, N, C) of `forward_features`.
        LF-ViT (AAAI 2024) for 'ema'; Abnar and Zuidema (2020) for 'rollout'. An attention pool has one layer
        and is read from it whatever the settings say.

    Raises:
        FocusError: the network does not attend in the way a ViT does.
    """
    grid = vit.grid(*images.shape[-2:])
    tokens = grid[0] * grid[1]
    with _Watch(vit, len(images), tokens, settings) as watch:
        features = vit.net.forward_features(images)  # type: ignore[operator]
        if vit.query == "pool":
            vit.net.forward_head(features)  # type: ignore[operator]
    expected = vit.depth + (vit.query == "pool")
    problem = watch.problem
    if not problem and watch.calls != expected:
        problem = f"{watch.calls} attention layers were seen where {expected} were expected"
    if problem:
        raise FocusError(f"the class attention of this model cannot be read: {problem}")
    with torch.autocast(images.device.type, enabled=False):
        if watch.rollout:
            row = _rollout(watch.layers, vit, settings.heads)
        else:
            rows = [row.mean(1) if settings.heads == "mean" else row.amax(1) for row in watch.rows]
            row = _ema(rows) if settings.attention == "ema" else torch.stack(rows).mean(0)
    row = row[:, -tokens:]
    return (row / row.sum(1, keepdim=True)).view(-1, *grid), features


def _is_slow(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> bool:
    """Whether `_attend` does the same as PyTorch's attention with these arguments, and faster.

    On a CPU its fused kernel multiplies bfloat16 several times slower than oneDNN does.
    """
    return (
        query.ndim == 4
        and attn_mask is None
        and not dropout_p
        and not is_causal
        and query.device.type == "cpu"
        and {query.dtype, key.dtype, value.dtype} == {torch.bfloat16}
        and query.shape == key.shape == value.shape
        and query.shape[1] * query.shape[2] ** 2 <= _MOST_SCORES
    )


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(q K^T) V by two matrix products, few images at a time: (B, H, N, d) bfloat16 each."""
    _, heads, tokens, channels = query.shape
    count = max(1, _MOST_SCORES // (heads * tokens**2))
    done = []
    for some in zip(*(whole.split(count) for whole in (query, key, value)), strict=True):
        q, k, v = (each.reshape(-1, tokens, channels) for each in some)
        scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=scale)
        done.append(torch.bmm(scores.softmax(-1), v).view(-1, heads, tokens, channels))
    return torch.cat(done) if len(done) > 1 else done[0]


def _row(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None, scale: float) -> torch.Tensor:
    """softmax(q K^T) in float32: query (B, H, 1, d), key (B, H, N, d) -> (B, H, N)."""
    scores = (query.float() * scale) @ key.float().transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1).squeeze(-2)


def _ema(rows: list[torch.Tensor]) -> torch.Tensor:
    """LF-ViT: G <- 0.99 G + 0.01 A_k from the first layer used to the last, starting at zero."""
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = EMA_DECAY * total + (1 - EMA_DECAY) * row
    return total


def _rollout(layers: list[Any], vit: ViT, heads: str) -> torch.Tensor:
    """The class row of prod_l (A_l + I) / 2, multiplied from the last layer: (B, N).

    One head's N x N matrix is held at a time.
    """
    query = layers[0][0]
    tokens = query.shape[-2]
    row = torch.zeros(len(query), 1, tokens, device=query.device)
    if vit.query == "class":
        row[..., 0] = 1.0
    else:
        row[..., vit.prefix :] = 1.0 / (tokens - vit.prefix)
    for query, key, bias, scale in reversed(layers):
        full = torch.zeros(len(query), tokens, tokens, device=query.device)
        for head in range(query.shape[1]):
            scores = (query[:, head].float() * scale) @ key[:, head].float().transpose(-2, -1)
            if bias is not None:
                scores = scores + bias[:, min(head, bias.shape[1] - 1)]
            one = scores.softmax(-1)
            full = torch.maximum(full, one) if heads == "max" else full + one / query.shape[1]
        if heads == "max":
            full = full / full.sum(-1, keepdim=True)
        row = (row @ full + row) / 2
    return row.squeeze(1)
