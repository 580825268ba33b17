"""Learning rate, weight decay and dropout for the study ``regression``, chosen on validation rows."""
