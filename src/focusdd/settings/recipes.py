"""What a student's optimiser is set to when the user does not say: by the family of its architecture.

Everything else of the recipe is the same for every student. A student of no listed family trains too.
"""

from __future__ import annotations

from typing import NamedTuple


class Recipe(NamedTuple):
    """Settings of AdamW."""

    lr: float
    """Peak learning rate."""
    weight_decay: float


DEFAULT = Recipe(1e-3, 0.01)  # ConvNet-5 and whatever is not listed
FAMILIES: dict[str, tuple[tuple[str, ...], Recipe]] = {
    "ResNets": (
        ("resnet", "resnetv2", "resnest", "res2net", "regnet", "senet", "sknet", "tresnet"),
        Recipe(2e-3, 0.01),
    ),
    "EfficientNets and MobileNets": (
        ("efficientnet", "mobilenetv3", "mobilenetv5", "hardcorenas"),
        Recipe(5e-3, 0.01),
    ),
    "ViTs, Swins and ConvNeXts": (
        (
            *("vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos"),
            *("vision_transformer_sam", "vitamin", "naflexvit", "deit", "beit", "eva"),
            *("swin_transformer", "swin_transformer_v2", "swin_transformer_v2_cr", "convnext"),
        ),
        Recipe(5e-4, 0.05),
    ),
}
"""By what people call a family: the modules of timm that define its models, and its recipe."""


def recipe_of(module: str) -> Recipe:
    """The recipe of the models that a module of timm defines, such as "resnet"."""
    return next((own for modules, own in FAMILIES.values() if module in modules), DEFAULT)


def default_help(field: str) -> str:
    """The values of one field for all families, for its help."""
    values = [f"{getattr(own, field):g} for {name}" for name, (_, own) in FAMILIES.items()]
    return f"{', '.join(values)}, {getattr(DEFAULT, field):g} for all others"
