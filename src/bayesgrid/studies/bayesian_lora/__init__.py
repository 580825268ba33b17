"""Bayesian low-rank adapters of language models: evaluation of fitted posteriors."""
