"""What inference needs, precomputed: features, centroids, neighbours."""
