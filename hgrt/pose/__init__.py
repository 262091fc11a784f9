"""What a pose is: the skeleton, the geometry of crops, heatmaps, and how poses are scored. Pure numpy and OpenCV."""
