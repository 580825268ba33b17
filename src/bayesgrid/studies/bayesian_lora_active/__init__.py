"""Active learning with Bayesian low-rank adapters: labels bought in rounds, a fit after each."""
