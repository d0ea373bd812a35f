"""Published coefficients: the released EfficientNets, Lite, TinyNet and EfficientNet-X.

Those of the EfficientNets are *not* powers of the paper's alpha, beta and gamma (`scaling.rules`): B1 has width 1.0 and
depth 1.1, whereas the rule gives 1.1 and 1.2 for phi = 1.

Sources: tensorflow/tpu efficientnet_builder.py (unchanged since its first commit), lite/efficientnet_lite_builder.py
and efficientnet_x_builder.py; huawei-noah/CV-Backbones tinynet_pytorch for TinyNet (arXiv 2010.14819).
"""

from __future__ import annotations

from dataclasses import replace

from scaling.compound import EFFICIENTNET, TINYNET, Coefficients, Rounding
from search_spaces.architecture import Architecture
from search_spaces.errors import unknown_name

_LITE_KEEPS = ("stem", "head", "ends")
TINYNET_KEEPS = ("stem", "large-head")

_ROWS: tuple[tuple[str, float, float, int, float | None, tuple[str, ...], Rounding], ...] = (
    ("b0", 1.0, 1.0, 224, 0.2, (), EFFICIENTNET),
    ("b1", 1.0, 1.1, 240, 0.2, (), EFFICIENTNET),
    ("b2", 1.1, 1.2, 260, 0.3, (), EFFICIENTNET),
    ("b3", 1.2, 1.4, 300, 0.3, (), EFFICIENTNET),
    ("b4", 1.4, 1.8, 380, 0.4, (), EFFICIENTNET),
    ("b5", 1.6, 2.2, 456, 0.4, (), EFFICIENTNET),
    ("b6", 1.8, 2.6, 528, 0.5, (), EFFICIENTNET),
    ("b7", 2.0, 3.1, 600, 0.5, (), EFFICIENTNET),
    ("b8", 2.2, 3.6, 672, 0.5, (), EFFICIENTNET),
    ("l2", 4.3, 5.3, 800, 0.5, (), EFFICIENTNET),
    ("lite0", 1.0, 1.0, 224, 0.2, _LITE_KEEPS, EFFICIENTNET),
    ("lite1", 1.0, 1.1, 240, 0.2, _LITE_KEEPS, EFFICIENTNET),
    ("lite2", 1.1, 1.2, 260, 0.3, _LITE_KEEPS, EFFICIENTNET),
    ("lite3", 1.2, 1.4, 280, 0.3, _LITE_KEEPS, EFFICIENTNET),
    ("lite4", 1.4, 1.8, 300, 0.3, _LITE_KEEPS, EFFICIENTNET),
    ("tinynet_a", 1.0, 1.2, 192, None, TINYNET_KEEPS, TINYNET),
    ("tinynet_b", 0.75, 1.1, 188, None, TINYNET_KEEPS, TINYNET),
    ("tinynet_c", 0.54, 0.85, 184, None, TINYNET_KEEPS, TINYNET),
    ("tinynet_d", 0.54, 0.695, 152, None, TINYNET_KEEPS, TINYNET),
    ("tinynet_e", 0.51, 0.6, 106, None, TINYNET_KEEPS, TINYNET),
    # Of networks with fused blocks and a space-to-depth stem. Applied to another baseline they give coefficients, not
    # that family, so its accuracies do not carry over.
    ("x_gpu_b1", 1.05, 1.09, 229, None, (), EFFICIENTNET),
    ("x_gpu_b2", 1.13, 1.24, 237, None, (), EFFICIENTNET),
    ("x_gpu_b3", 1.31, 1.63, 255, None, (), EFFICIENTNET),
    ("x_gpu_b4", 1.63, 2.40, 282, None, (), EFFICIENTNET),
    ("x_gpu_b5", 1.94, 3.29, 306, None, (), EFFICIENTNET),
    ("x_gpu_b6", 2.25, 4.28, 328, None, (), EFFICIENTNET),
    ("x_gpu_b7", 2.58, 5.46, 350, None, (), EFFICIENTNET),
    ("x_tpu_b1", 1.05, 1.09, 229, None, (), EFFICIENTNET),
    ("x_tpu_b2", 1.13, 1.29, 244, None, (), EFFICIENTNET),
    ("x_tpu_b3", 1.27, 1.62, 263, None, (), EFFICIENTNET),
    ("x_tpu_b4", 1.54, 2.38, 299, None, (), EFFICIENTNET),
    ("x_tpu_b5", 1.96, 2.76, 332, None, (), EFFICIENTNET),
    ("x_tpu_b6", 2.75, 3.01, 328, None, (), EFFICIENTNET),
    ("x_tpu_b7", 3.26, 3.44, 350, None, (), EFFICIENTNET),
)
PRESETS: dict[str, Coefficients] = {row[0]: Coefficients(*row[1:]) for row in _ROWS}
# The resolution of the baseline that all of them scale.
PUBLISHED_SIDE = 224
# Resolutions are tried in multiples of the largest power of two that is at most this share of the baseline's side, and
# at most pycls's 4 pixels. The released EfficientNets are all multiples of 4.
_FINENESS, _COARSEST_STEP = 1 / 24, 4


def preset(name: str) -> Coefficients:
    """Return published coefficients by name, such as "b3".

    Raises:
        MnasError: the name is not a key of `PRESETS`.
    """
    if name.lower() not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name.lower()]


def side_step(base: Architecture) -> int:
    """Return the step in which resolutions of a baseline are tried: 4 px, or less for small images."""
    step = _COARSEST_STEP
    while step > 1 and step > _FINENESS * base.resolution:
        step //= 2
    return step


def in_proportion(base: Architecture, chosen: Coefficients) -> Coefficients:
    """Return published coefficients for a baseline of any side: the resolution in proportion to 224 px, in steps.

    Args:
        base: network to scale.
        chosen: coefficients as published.
    """
    if base.resolution == PUBLISHED_SIDE:
        return chosen
    step = side_step(base)
    side = round(base.resolution * chosen.resolution / PUBLISHED_SIDE / step) * step
    return replace(chosen, resolution=max(side, base.total_stride))


def source_of(name: str) -> str:
    """Return the file that published the coefficients of a preset."""
    if name.startswith("tinynet"):
        return "huawei-noah/CV-Backbones tinynet_pytorch (arXiv 2010.14819)"
    if name.startswith("x_"):
        return "tensorflow/tpu efficientnet_x_builder.py (LACS, arXiv 2102.05610)"
    return "tensorflow/tpu " + ("lite/efficientnet_lite_builder.py" if "lite" in name else "efficientnet_builder.py")
