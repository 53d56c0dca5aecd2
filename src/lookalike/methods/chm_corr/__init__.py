"""CHM-Corr: re-ranking by correspondences that a convolutional Hough matching network finds."""
