#!/bin/sh
# Grow B0 by the released coefficients and by the paper's rule, and compare the results.
set -e
mnas scale efficientnet_b0 --preset b3
mnas scale efficientnet_b0 --phi 2
mnas compare efficientnet_b0_b3 efficientnet_b0_phi2 efficientnet_b0
