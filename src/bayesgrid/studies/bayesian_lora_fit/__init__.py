"""Fits of Bayesian low-rank adapters, which evaluations build on."""
