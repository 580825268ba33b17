"""The predictive networks of the study: all seeds of a block as one stack, with gradients written by hand."""
