"""Scoring rules, errors, calibration, learning-curve areas and their intervals; NumPy and SciPy only."""
