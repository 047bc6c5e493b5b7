"""The whole program, seen from outside by real clients."""
