"""Whether a live installation keeps its tenants apart, as far as can be seen. Changes nothing."""
