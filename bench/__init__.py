"""Loads on loopback against the gateway and against peers, and the report they make. Not shipped."""
