"""Accuracies and paired differences of networks that were trained with the same seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from nas.studies.contestants import Contestant, Judged, paired_difference, read_judged
from search_spaces import MnasError


def contestant(name: str, hits: object) -> Contestant:
    return Contestant(name, 1, 1, 1, np.array(hits, dtype=bool), 32)


def test_the_interval_is_students_if_images_do_not_matter() -> None:
    """Each network recognises random images, but a fixed number of them, so scipy's paired t-test applies."""
    images = 2000
    shares = {"a": (0.62, 0.66, 0.64), "b": (0.60, 0.61, 0.63)}
    hits = {}
    for name, values in shares.items():
        rng = np.random.default_rng(len(name))
        hits[name] = [rng.permutation(np.arange(images) < value * images) for value in values]
    found = paired_difference(contestant("a", hits["a"]), contestant("b", hits["b"]))
    theirs = ttest_rel(*shares.values()).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.08 / 3)
    assert found.interval is not None
    low, high = found.interval
    assert low < theirs.low < found.mean < theirs.high < high
    assert (high - low) / (theirs.high - theirs.low) == pytest.approx(1, abs=0.15)
    assert found.verdict == ("better" if low > 0 else "tie")


def test_equal_differences_of_all_pairs_leave_uncertainty() -> None:
    """The choice of test images is still random: 10 of 100 differ, all in one direction, as in a proportion."""
    both = [[image < 60 for image in range(100)]] * 2
    fewer = [[image < 50 for image in range(100)]] * 2
    found = paired_difference(contestant("a", both), contestant("b", fewer))
    half = 1.96 * (0.1 * 0.9 / 99) ** 0.5
    assert found.interval == pytest.approx((0.1 - half, 0.1 + half))
    assert found.verdict == "better"
    assert paired_difference(contestant("b", fewer), contestant("a", both)).verdict == "worse"
    assert paired_difference(contestant("a", both), contestant("a", both)).verdict == "tie"
    assert paired_difference(contestant("a", both[:1]), contestant("b", fewer[:1])).verdict == "unknown"


def test_the_validation_part_is_compared_too() -> None:
    """Twenty seeds with images of their own: the interval is about that of the binomial over all images."""
    rng = np.random.default_rng(0)
    test = np.zeros((20, 5), dtype=bool)
    one, other = (
        Contestant(name, 1, 1, 1, test, 32, val_hits=rng.random((20, 500)) < share)
        for name, share in (("a", 0.7), ("b", 0.6))
    )
    assert one.val_mean == pytest.approx(0.7, abs=0.02)
    assert one.val_std == pytest.approx((0.7 * 0.3 / 500) ** 0.5, rel=0.5)
    found = paired_difference(one, other, "val")
    assert found.interval is not None
    low, high = found.interval
    assert low < 0.1 < high
    # Training adds nothing of its own here, so each of the two parts is about the error over all images.
    assert (high - low) / 2 == pytest.approx(2**0.5 * 1.96 * ((0.21 + 0.24) / 10_000) ** 0.5, rel=0.3)
    assert paired_difference(one, other).mean == 0
    with pytest.raises(MnasError, match="part: a was not judged on val"):
        paired_difference(contestant("a", test), other, "val")
    with pytest.raises(MnasError, match="unknown part 'vol'"):
        paired_difference(one, other, "vol")


@pytest.mark.parametrize("images", [1, 8, 13])
def test_what_is_judged_is_read_again(images: int) -> None:
    rng = np.random.default_rng(images)
    test, val = rng.random(images) < 0.5, rng.random(images + 3) < 0.5
    again = read_judged(Judged(test, val).as_dict())
    assert (again.test == test).all()
    assert again.val is not None
    assert (again.val == val).all()
    assert read_judged(Judged(test, None).as_dict()).val is None
    with pytest.raises(ValueError, match="bytes of hits"):
        read_judged({**Judged(test, val).as_dict(), "images": 100})
