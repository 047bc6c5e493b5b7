"""What happened, by where it happens; `tiergate.events` has all of it."""
