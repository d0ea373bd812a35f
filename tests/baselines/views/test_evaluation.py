from __future__ import annotations

import numpy as np

from baselines.training.evaluate import Evaluation
from baselines.views.evaluation import _class_table


def test_classes_without_images_are_not_the_worst() -> None:
    confusion = np.array([[9, 1, 0], [0, 0, 0], [3, 0, 1]])
    found = Evaluation(14, 10 / 14, 1.0, (0.4, 0.9), 0.5, confusion)
    table = _class_table(found, ("a", "b", "c"))
    assert [cells[0].plain for cells, _ in table.rows] == ["c", "a"]
