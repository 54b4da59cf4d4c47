"""Two photos to depth: calibration, rectification, disparities, products."""
