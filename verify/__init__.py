"""Whether a live installation keeps its tenants apart: what can be seen of it, and what a tenant can try.

Changes nothing of anybody's. What it makes, two tenants on each cluster, it takes away again.
"""
