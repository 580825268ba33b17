"""Preference models of pairs of responses, and active learning of their labels."""
