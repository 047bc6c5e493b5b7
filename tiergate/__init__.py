"""Tiergate: one gateway, three ways to keep tenants apart in Postgres."""

__version__ = "0.1.0"
