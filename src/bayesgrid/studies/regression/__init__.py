"""BALSA: active learning for regression by distribution disagreement (arXiv 2501.01248)."""
