"""ConvNet-5, the student of the dataset-distillation literature, as a timm model named "convnet5"."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

DEPTH, WIDTH = 5, 128


class ConvNet(nn.Module):
    """Five times 3 x 3 convolution (128), instance normalisation, ReLU, mean of 2 x 2; then one linear layer.

    As in Zhao et al. (ICLR 2021) and DD-Ranking. The linear layer sees every place of the last map, so the
    network is made for one input size.

    Raises:
        ValueError: an input size under 32 px, of which nothing would be left.
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, img_size: int = 128) -> None:
        super().__init__()
        side = img_size // 2**DEPTH
        if side < 1:
            raise ValueError(f"convnet5 needs inputs of at least {2**DEPTH} px")
        self.num_features = WIDTH * side**2
        layers: list[tuple[str, nn.Module]] = []
        for number in range(DEPTH):
            layers += [
                (f"conv{number}", nn.Conv2d(WIDTH if number else in_chans, WIDTH, 3, padding=1)),
                (f"norm{number}", nn.GroupNorm(WIDTH, WIDTH)),
                (f"relu{number}", nn.ReLU(inplace=True)),
                (f"pool{number}", nn.AvgPool2d(2)),
            ]
        self.features = nn.Sequential(OrderedDict(layers))
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Makes the linear layer anew, for other classes."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.num_features, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> logits (B, classes)."""
        return self.classifier(self.features(images).flatten(1))


default_cfgs = generate_default_cfgs(
    {
        "convnet5": {
            "input_size": (3, 128, 128),
            "fixed_input_size": True,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "num_classes": 1000,
            "pool_size": None,
            "first_conv": "features.conv0",
            "classifier": "classifier",
        }
    }
)


@register_model
def convnet5(pretrained: bool = False, **options: Any) -> ConvNet:
    """The entry point that timm calls."""
    return build_model_with_cfg(ConvNet, "convnet5", pretrained, **options)
