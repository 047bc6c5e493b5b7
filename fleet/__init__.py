"""The places that tenants' rows live in: how they are made ready, and who is let in."""
