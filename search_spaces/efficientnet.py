"""The ``efficientnet`` space: B0's skeleton, with kernel, expansion, squeeze-excite and depth of each stage open.

1.045e11 networks, EfficientNet-B0 among them. The skeleton (channels, strides, stem, head, resolution) is that of
Table 1 of arXiv 1905.11946; the choices are those for which the Accel-NASBench authors measured ImageNet accuracy
(github.com/afzalxo/Accel-NASBench).
"""

from __future__ import annotations

from search_spaces.architecture import Architecture, ConvLayer, MBConv, Stage
from search_spaces.space import SearchSpace, StageChoices

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


def efficientnet_space() -> SearchSpace:
    """The space; see the module."""
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
    return SearchSpace("efficientnet", template, choices)
