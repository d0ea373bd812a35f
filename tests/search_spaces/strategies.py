"""Random architectures for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from search_spaces import Architecture, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.architecture import ACTIVATIONS, PADDINGS

shared = {
    "kernel_size": st.sampled_from((1, 3, 5, 7)),
    "se_ratio": st.sampled_from((0, 0.0, 0.1, 0.25, 1, 1.0)),
    "skip": st.sampled_from(("identity", "pool", "none")),
}
blocks = st.builds(MBConv, expand_ratio=st.integers(1, 6), **shared) | st.builds(ConvBlock, **shared)
stages = st.builds(
    Stage, block=blocks, out_channels=st.integers(1, 48), num_layers=st.integers(1, 3), stride=st.integers(1, 2)
)
architectures = st.builds(
    Architecture,
    resolution=st.integers(64, 97),
    num_classes=st.integers(1, 30),
    stem=st.builds(ConvLayer, st.integers(1, 24), st.sampled_from((1, 3, 5)), st.integers(1, 2)),
    stages=st.lists(stages, min_size=1, max_size=4).map(tuple),
    head=st.builds(ConvLayer, st.integers(1, 64), st.sampled_from((1, 3)), st.integers(1, 2)),
    activation=st.sampled_from(ACTIVATIONS),
    padding=st.sampled_from(PADDINGS),
    dropout=st.just(0) | st.floats(0, 0.9),
    drop_connect=st.just(0) | st.floats(0, 0.9),
)
