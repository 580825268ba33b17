"""Low-rank adapters: many of them on one frozen base model, and their files."""
