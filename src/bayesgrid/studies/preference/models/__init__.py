"""Preference models: what turns features of two responses into the logit that the first is preferred."""
