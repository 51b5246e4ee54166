"""What happens to a call on its way through, one thing a file."""
