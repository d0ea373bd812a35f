from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from search_spaces import Architecture, ConvLayer, FieldError, MBConv, Stage

# EfficientNet-B0's blocks as tensorflow/tpu efficientnet_model.py builds them: input, hidden and squeeze channels, and
# whether the block has a skip.
B0_BLOCKS = [
    (32, 32, 8, False),
    (16, 96, 4, False),
    (24, 144, 6, True),
    (24, 144, 6, False),
    (40, 240, 10, True),
    (40, 240, 10, False),
    (80, 480, 20, True),
    (80, 480, 20, True),
    (80, 480, 20, False),
    (112, 672, 28, True),
    (112, 672, 28, True),
    (112, 672, 28, False),
    (192, 1152, 48, True),
    (192, 1152, 48, True),
    (192, 1152, 48, True),
    (192, 1152, 48, False),
]


def test_blocks_of_b0(b0: Architecture) -> None:
    blocks = [(b.in_channels, b.hidden_channels, b.squeeze_channels, b.skip == "identity") for b in b0.blocks]
    assert blocks == B0_BLOCKS
    assert b0.num_blocks == 16
    assert b0.total_stride == 32


def test_frozen(b0: Architecture) -> None:
    with pytest.raises(FrozenInstanceError):
        b0.resolution = 256  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        b0.stages[0].block.kernel_size = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"resolution": 0}, "resolution"),
        ({"resolution": 31}, "resolution"),
        ({"resolution": 224.0}, "resolution"),
        ({"resolution": True}, "resolution"),
        ({"resolution": 10**6}, "resolution"),
        ({"num_classes": 0}, "num_classes"),
        ({"stages": ()}, "stages"),
        ({"stages": []}, "stages"),
        ({"stages": ("mbconv",)}, "stages[0]"),
        ({"stem": None}, "stem"),
        ({"head": 1280}, "head"),
        ({"activation": "swich"}, "activation"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"drop_connect": -0.1}, "drop_connect"),
        ({"bn_eps": float("inf")}, "bn_eps"),
        ({"bn_momentum": "0.1"}, "bn_momentum"),
    ],
)
def test_errors_name_the_wrong_field(b0: Architecture, change: dict[str, object], path: str) -> None:
    with pytest.raises(FieldError) as error:
        replace(b0, **change)  # type: ignore[arg-type]
    assert error.value.path == path
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: MBConv(4, 6, 0.25), "kernel_size"),
        (lambda: MBConv(17, 6, 0.25), "kernel_size"),
        (lambda: MBConv(3, 0, 0.25), "expand_ratio"),
        (lambda: MBConv(3, 6, 1.5), "se_ratio"),
        (lambda: MBConv(3, 6, float("nan")), "se_ratio"),
        (lambda: Stage(MBConv(3, 6, 0), 0, 1, 1), "out_channels"),
        (lambda: Stage(MBConv(3, 6, 0), 16, 0, 1), "num_layers"),
        (lambda: Stage(MBConv(3, 6, 0), 16, 1, 3), "stride"),
        (lambda: Stage(None, 16, 1, 1), "block"),  # type: ignore[arg-type]
        (lambda: ConvLayer(10**9, 3, 2), "out_channels"),
    ],
)
def test_parts_check_themselves(make: object, path: str) -> None:
    with pytest.raises(FieldError) as error:
        make()  # type: ignore[operator]
    assert error.value.path == path


def test_unknown_activation_gets_a_suggestion(b0: Architecture) -> None:
    with pytest.raises(FieldError, match="did you mean 'swish'"):
        replace(b0, activation="swich")


def test_a_field_error_can_be_pickled() -> None:
    error = FieldError("stages[0].op", "is unknown")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.path, copy.problem, str(copy)) == (error.path, error.problem, str(error))
