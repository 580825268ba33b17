"""Where results live: run folders, atomic writes, manifests, checkpoints and resume."""
