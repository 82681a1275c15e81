"""What the figures may not be trusted for: copies, training images, outliers."""
