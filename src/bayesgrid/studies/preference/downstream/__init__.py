"""What a preference model is for: picking responses, knowing when to ask a judge, and training a policy."""
