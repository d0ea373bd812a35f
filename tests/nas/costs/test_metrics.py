from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.costs.metrics import COSTS, check_target, cost_function
from nas.predictors import imagenet as imagenet_predictor
from nas.predictors.accel_nasbench import read_measurements
from nas.predictors.hardware import COLUMNS, MODEL_FILE, hardware_predictor
from search_spaces import MnasError, StageSpace, load_space


@pytest.mark.parametrize(
    ("name", "tau", "error"),
    [
        ("a100-throughput", 0.994, 0.004),
        ("rtx3090-throughput", 0.985, 0.009),
        ("tpuv2-throughput", 0.965, 0.018),
        ("tpuv3-throughput", 0.895, 0.024),
        ("zcu102-throughput", 0.985, 0.010),
        ("vck190-throughput", 0.958, 0.020),
        ("zcu102-latency", 0.993, 0.004),
        ("vck190-latency", 0.988, 0.006),
    ],
)
def test_predictions_against_measurements(
    space: StageSpace, accel_nasbench: Path, name: str, tau: float, error: float
) -> None:
    rows, measured = read_measurements(accel_nasbench / "valid.csv", space, COLUMNS[name])
    predicted = hardware_predictor(name).predict(rows)
    assert kendalltau(predicted, measured)[0] > tau
    relative = predicted / measured - 1
    assert np.abs(relative).mean() < error
    assert 0.6 < np.std(relative) / hardware_predictor(name).std < 1.3


def test_all_predictors_together_are_small() -> None:
    assert MODEL_FILE.stat().st_size + imagenet_predictor.MODEL_FILE.stat().st_size <= 256 * 1024


def test_more_work_takes_longer(space: StageSpace) -> None:
    """The largest network of the space is slower than the smallest on every device."""
    ends = np.stack([np.zeros_like(space.cardinalities), space.cardinalities - 1])
    for name, metric in COSTS.items():
        small, large = cost_function(name, space)(ends)
        assert (small > large) == metric.higher_is_better


def test_counts_are_those_of_the_space(space: StageSpace) -> None:
    rows = space.sample_indices(np.random.default_rng(0), 10)
    assert cost_function("macs", space)(rows).tolist() == space.costs(rows)[0].tolist()
    assert cost_function("params", space)(rows).tolist() == space.costs(rows)[1].tolist()


def test_another_space_of_known_networks_is_predicted_too(space: StageSpace) -> None:
    part = StageSpace("part", space.template, [*space.stages[1:2], *space.stages[1:]])
    with pytest.raises(MnasError, match="predicted for the space 'efficientnet' only"):
        cost_function("a100-throughput", part)
    smaller = StageSpace(
        "smaller",
        space.template,
        [
            *space.stages[:6],
            type(space.stages[6])(
                kernel_size=(3,), expand_ratio=(6,), se_ratio=(0.25,), out_channels=(320,), num_layers=(2, 1), stride=1
            ),
        ],
    )
    rows = smaller.sample_indices(np.random.default_rng(0), 20)
    same = space.indices([space.encode(architecture) for architecture in smaller.decode_indices(rows)])
    expected = cost_function("a100-throughput", space)(same)
    assert cost_function("a100-throughput", smaller)(rows).tolist() == expected.tolist()


def test_what_a_space_offers_is_said(space: StageSpace) -> None:
    for name in COSTS:
        with pytest.raises(MnasError, match=f"target {name}: 0.001 is below|target {name}: 0 is below"):
            check_target(name, 0.001, space)
    with pytest.raises(MnasError, match="predicted for the space 'efficientnet' only"):
        check_target("a100-throughput", 9000, load_space("mnasnet"))
    with pytest.raises(MnasError, match="unknown target 'mac'; did you mean 'macs'"):
        check_target("mac", 4, space)
