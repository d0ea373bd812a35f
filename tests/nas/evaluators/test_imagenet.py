from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.evaluators.imagenet import ImageNetPredictor
from nas.predictors.accel_nasbench import read_measurements
from nas.predictors.fit_imagenet import quality
from nas.predictors.imagenet import MODEL_FILE
from search_spaces import Architecture, FieldError, MnasError, StageSpace, architecture_cost


@pytest.fixture(scope="module")
def predictor() -> ImageNetPredictor:
    return ImageNetPredictor()


def test_on_networks_it_never_saw(predictor: ImageNetPredictor, accel_nasbench: Path, space: StageSpace) -> None:
    rows, top1 = read_measurements(accel_nasbench / "valid.csv", space)
    accuracy, std = predictor.predict(space.decode_indices(rows))
    figures = quality(top1, 100 * accuracy, 100 * std)
    assert len(rows) == 512
    assert figures["kendall_tau"] >= 0.930
    assert figures["r2"] >= 0.987
    assert figures["mae"] <= 0.265
    assert 0.85 <= figures["z_std"] <= 1.15
    # The model file holds the figures of its release.
    assert predictor.about["valid"] == pytest.approx(figures, abs=2e-4)


def test_quality_against_hand_computed_figures() -> None:
    truth, predicted, std = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0, 2.0])
    figures = quality(truth, predicted, std)
    assert figures["kendall_tau"] == pytest.approx(1 / 3)  # two pairs in order, one not
    assert figures["r2"] == pytest.approx(1 - 5 / (14 / 3))
    assert figures["mae"] == pytest.approx(1)
    assert figures["z_std"] == pytest.approx(np.std([0, -1, 1]))


def test_it_agrees_with_published_orders(predictor: ImageNetPredictor, space: StageSpace, b0: Architecture) -> None:
    """More of everything is better; B0 is among the best of its size; accuracies are below full training."""
    ends = space.decode_indices(np.stack([np.zeros(28, dtype=np.int64), space.cardinalities - 1]))
    smallest, largest, published = predictor.predict([*ends, b0])[0]
    assert smallest < 0.5 < published < largest < 0.771
    rows = space.sample_indices(np.random.default_rng(0), 4000)
    macs = space.costs(rows)[0]
    near = rows[np.abs(macs / architecture_cost(b0).macs - 1) < 0.1]
    accuracy = predictor.predict(space.decode_indices(near))[0]
    assert (accuracy < published).mean() > 0.98


def test_the_model_file_is_small_and_names_its_data(predictor: ImageNetPredictor) -> None:
    assert MODEL_FILE.stat().st_size <= 64 * 1024
    assert "Accel-NASBench" in predictor.about["data"]
    assert "Apache-2.0" in predictor.about["data"]
    assert "shortened" in predictor.about["predicts"]
    assert "shortened schedule" in predictor.meaning


def test_training_settings_do_not_matter_but_structure_does(predictor: ImageNetPredictor, b0: Architecture) -> None:
    assert predictor.evaluate([replace(b0, dropout=0.5)]) == predictor.evaluate([b0])
    cases = {
        "resolution": replace(b0, resolution=240),
        "stem": replace(b0, stem=replace(b0.stem, out_channels=40)),
        "activation": replace(b0, activation="relu"),
        "stages": replace(b0, stages=b0.stages[:-1]),
        "stages[1].out_channels": replace(
            b0, stages=(b0.stages[0], replace(b0.stages[1], out_channels=32), *b0.stages[2:])
        ),
        "stages[0].kernel_size": replace(
            b0, stages=(replace(b0.stages[0], block=replace(b0.stages[0].block, kernel_size=7)), *b0.stages[1:])
        ),
    }
    for path, architecture in cases.items():
        with pytest.raises(FieldError) as error:
            predictor.check(architecture)
        assert error.value.path == path


def test_files_of_something_else_are_refused(tmp_path: Path, space: StageSpace) -> None:
    with pytest.raises(MnasError, match="not a readable file"):
        read_measurements(tmp_path / "absent.csv", space)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MnasError, match="not a readable file"):
        read_measurements(tmp_path / "other.csv", space)
