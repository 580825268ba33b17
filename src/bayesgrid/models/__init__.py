"""Base models: where they come from, how they are loaded, and how they answer with one token."""
