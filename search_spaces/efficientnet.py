"""The ``efficientnet`` space: B0's skeleton, with kernel, expansion, squeeze-excite and depth of each stage open.

It has 1.045e11 networks, including EfficientNet-B0. The skeleton (channels, strides, stem, head, resolution) is Table 1
of arXiv 1905.11946. The choices are those for which the authors of Accel-NASBench measured ImageNet accuracy
(github.com/afzalxo/Accel-NASBench).
"""

from __future__ import annotations

from search_spaces.architecture import Architecture, ConvLayer, MBConv, Stage
from search_spaces.stage_space import StageChoices, StageSpace

#              out_channels, num_layers, stride
_SKELETON = (
    (16, (1, 2, 3), 1),
    (24, (1, 2, 3), 2),
    (40, (1, 2, 3), 2),
    (80, (1, 2, 3), 2),
    (112, (1, 2, 3), 1),
    (192, (1, 2, 3, 4), 2),
    (320, (1, 2, 3), 1),
)


def efficientnet_space() -> StageSpace:
    """Return the ``efficientnet`` space; see the module."""
    smallest = MBConv(kernel_size=3, expand_ratio=1, se_ratio=0.0)
    template = Architecture(
        resolution=224,
        num_classes=1000,
        stem=ConvLayer(out_channels=32, kernel_size=3, stride=2),
        stages=tuple(Stage(smallest, channels, layers[0], stride) for channels, layers, stride in _SKELETON),
        head=ConvLayer(out_channels=1280, kernel_size=1, stride=1),
    )
    choices = [
        StageChoices(
            kernel_size=(3, 5),
            expand_ratio=(1, 4, 6),
            se_ratio=(0.0, 0.25),
            out_channels=(channels,),
            num_layers=layers,
            stride=stride,
        )
        for channels, layers, stride in _SKELETON
    ]
    return StageSpace("efficientnet", template, choices)
