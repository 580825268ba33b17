"""Reproduce, check and extend Bayesian adaptation and active-learning results for language models."""

__version__ = "0.1.0"
