"""How wrong measurements are kept from bending an estimate: one loss, as narrow as the right ones are exact.

A loss of a fixed width takes everything within it for right. Keypoints are exact to 0.1 or 0.2 px where photos are
sharp: one that lies a pixel off is as wrong as one ten pixels off, and must not weigh a hundred times as much as a
right one. So estimates tell from their own residuals how exact these are, and set the width by it.
"""

CAUCHY = 2.385
"""Width of Cauchy's loss in standard deviations: 95 % as efficient as least squares where nothing is wrong."""
LEAST_NOISE = 0.02
"""Px, standard deviation along each axis; no keypoint lies more exactly."""
MEDIAN_OFFSET, MEAN_LENGTH, MEDIAN_SQUARE = 0.6745, 1.2533, 1.3863
"""Of standard normal numbers: the median of their absolute value; and of vectors of two of them, the mean of the length
and the median of its square."""
