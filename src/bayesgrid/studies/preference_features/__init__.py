"""Features of responses from a frozen base model, computed once for all runs that learn from them."""
