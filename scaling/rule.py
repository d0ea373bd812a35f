"""The paper's rule: depth alpha**phi, width beta**phi, resolution gamma**phi.

Source: EfficientNet (arXiv 1905.11946) equation 3; alpha = 1.2, beta = 1.1, gamma = 1.15 were found for B0 with
alpha * beta**2 * gamma**2 close to 2, so that MACs grow by about 2**phi. The released B1 to B7 have other coefficients:
`scaling.published`.
"""

from __future__ import annotations

from scaling.compound import Coefficients
from search_spaces.architecture import check_number

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15

# Sides that are no multiple of the total stride make odd feature maps, and those cost more than they give: B0 with
# width 1.1 and depth 1.2 has 0.860G MACs at 256 px and 0.993G at 257 to 260 px.
RESOLUTION_STEP = 32


def coefficients(phi: float, base_resolution: int) -> Coefficients:
    """Coefficients of the rule for a baseline of ``base_resolution`` pixels.

    The resolution is the multiple of 32 nearest to ``base_resolution * gamma**phi``; at phi = 0 it stays as it is.

    Raises:
        FieldError: phi is not from -4 to 12.
    """
    check_number("phi", phi, -4, 12)
    exact = base_resolution * GAMMA**phi
    resolution = base_resolution if phi == 0 else max(1, round(exact / RESOLUTION_STEP)) * RESOLUTION_STEP
    return Coefficients(width=BETA**phi, depth=ALPHA**phi, resolution=resolution)
