"""Rules that hold without a server, a network or a clock."""
