"""Write the spec files of the released scaled networks: EfficientNet-B1 to B8 and L2, Lite1 to Lite4, TinyNet A to E.

    python -m scaling.released baselines/specs

Only their published figures are typed by hand; the architectures are derived by compound scaling.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from baselines.registry import load
from baselines.spec import BaselineSpec, Figure, write_spec
from scaling.published import PRESETS
from scaling.specs import scaled_spec

_TABLE_2 = "arXiv 1905.11946v5 Table 2"
_README = "tensorflow/tpu models/official/efficientnet/README.md"
_LITE_README = "tensorflow/tpu models/official/efficientnet/lite/README.md (float checkpoint)"
_TINYNET = "arXiv 2010.14819; huawei-noah/CV-Backbones tinynet_pytorch/README.md"
_METRICS = ("top1", "top5", "params", "macs")

# Source and figures of each network, by preset. The figures are as printed, so parameters and MACs are rounded, and
# some are wrong: B4's 4.2 billion FLOPS are 4.394 by the paper's own definition.
PUBLISHED: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "b1": (_TABLE_2, (0.791, 0.944, 7.8e6, 0.70e9)),
    "b2": (_TABLE_2, (0.801, 0.949, 9.2e6, 1.0e9)),
    "b3": (_TABLE_2, (0.816, 0.957, 12e6, 1.8e9)),
    "b4": (_TABLE_2, (0.829, 0.964, 19e6, 4.2e9)),
    "b5": (_TABLE_2, (0.836, 0.967, 30e6, 9.9e9)),
    "b6": (_TABLE_2, (0.840, 0.968, 43e6, 19e9)),
    "b7": (_TABLE_2, (0.843, 0.970, 66e6, 37e9)),
    "b8": (f"{_README} (AdvProp)", (0.855, None, None, None)),
    "l2": (f"{_README} (NoisyStudent, with unlabelled images)", (0.884, None, None, None)),
    "lite1": (_LITE_README, (0.767, None, 5.4e6, 631e6)),
    "lite2": (_LITE_README, (0.776, None, 6.1e6, 899e6)),
    "lite3": (_LITE_README, (0.798, None, 8.2e6, 1.44e9)),
    "lite4": (_LITE_README, (0.815, None, 13.0e6, 2.64e9)),
    "tinynet_a": (_TINYNET, (0.768, None, 6.2e6, 339e6)),
    "tinynet_b": (_TINYNET, (0.750, None, 3.7e6, 202e6)),
    "tinynet_c": (_TINYNET, (0.712, None, 2.5e6, 100e6)),
    "tinynet_d": (_TINYNET, (0.670, None, 2.3e6, 52e6)),
    "tinynet_e": (_TINYNET, (0.599, None, 2.0e6, 24e6)),
}


def released() -> Iterator[BaselineSpec]:
    """Yield the specs, each scaled from the smallest network of its family."""
    for name, (source, values) in PUBLISHED.items():
        parent = load("efficientnet_lite0" if name.startswith("lite") else "efficientnet_b0")
        chosen = PRESETS[name]
        figures = tuple(
            Figure(metric, value, "published", source)
            for metric, value in zip(_METRICS, values, strict=True)
            if value is not None
        )
        tiny = name.startswith("tinynet")
        publisher = "huawei-noah/CV-Backbones" if tiny else "tensorflow/tpu"
        origin = f"{parent.name} with the coefficients of {publisher}"
        own = name if tiny else f"efficientnet_{name}"
        yield scaled_spec(parent, chosen, name=own, way=f"preset {name}", source=origin, figures=figures)


def main(folder: Path) -> None:
    """Write all specs into a folder."""
    for spec in released():
        write_spec(spec, folder / f"{spec.name}.yaml")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
