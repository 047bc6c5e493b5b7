"""Queries and changes, a module for each group of tables; `registry.store` joins them."""
