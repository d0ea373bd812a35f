"""The paper's rule: depth alpha**phi, width beta**phi, resolution gamma**phi.

Source: EfficientNet (arXiv 1905.11946) equation 3; alpha = 1.2, beta = 1.1, gamma = 1.15 were found for B0 with
alpha * beta**2 * gamma**2 close to 2, so that MACs grow by about 2**phi. The released B1 to B7 have other coefficients:
`scaling.published`.
"""

from __future__ import annotations

from scaling.compound import Coefficients
from search_spaces import Architecture
from search_spaces.architecture import check_number

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15


def coefficients(phi: float, base: Architecture) -> Coefficients:
    """Coefficients of the rule for a baseline.

    The resolution is the multiple of the baseline's total stride nearest to its resolution times gamma**phi, but not
    on the wrong side of its resolution. Sides that are no multiple make odd feature maps, and those cost more than they
    give: B0 with width 1.1 and depth 1.2 has 0.860G MACs at 256 px and 0.993G at 257 to 260 px.

    Raises:
        FieldError: phi is not from -4 to 12.
    """
    check_number("phi", phi, -4, 12)
    step = base.total_stride
    resolution = max(1, round(base.resolution * GAMMA**phi / step)) * step
    if phi >= 0:
        resolution = max(resolution, base.resolution)
    if phi <= 0:
        resolution = min(resolution, base.resolution)
    return Coefficients(width=BETA**phi, depth=ALPHA**phi, resolution=resolution)
