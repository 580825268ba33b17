"""What to label next: disagreement between posterior draws, and the choice of a batch. No torch."""
