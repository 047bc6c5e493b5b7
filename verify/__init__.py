"""Whether an installation keeps its tenants apart: looked up, then tried."""
