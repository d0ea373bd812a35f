"""The paper's rule: depth alpha**phi, width beta**phi, resolution gamma**phi.

Source: EfficientNet (arXiv 1905.11946) equation 3. The authors searched alpha = 1.2, beta = 1.1 and gamma = 1.15 on B0
under the constraint that alpha * beta**2 * gamma**2 is close to 2, so MACs grow by about 2**phi. The released B1 to B7
have other coefficients; see `scaling.published`.
"""

from __future__ import annotations

from scaling.compound import Coefficients
from search_spaces import Architecture
from search_spaces.architecture import check_number

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15


def coefficients(phi: float, base: Architecture) -> Coefficients:
    """Return the coefficients of the rule for a baseline.

    The resolution is the multiple of the baseline's total stride that is nearest to its resolution times gamma**phi. It
    never shrinks for phi >= 0 and never grows for phi <= 0. Other resolutions give odd feature maps, which cost more
    than they are worth: B0 with width 1.1 and depth 1.2 has 0.860G MACs at 256 px and 0.993G at 257 to 260 px.

    Args:
        phi: exponent of the rule, from -4 to 12.
        base: baseline to grow.

    Raises:
        FieldError: phi is out of range.
    """
    check_number("phi", phi, -4, 12)
    step = base.total_stride
    resolution = max(1, round(base.resolution * GAMMA**phi / step)) * step
    if phi >= 0:
        resolution = max(resolution, base.resolution)
    if phi <= 0:
        resolution = min(resolution, base.resolution)
    return Coefficients(width=BETA**phi, depth=ALPHA**phi, resolution=resolution)
