"""How a cluster is shown to its operators."""

from datetime import UTC, datetime

import pytest

from admin.cluster_shapes import cluster_json
from registry.records import Cluster
from tiergate.tenant import Tier


@pytest.mark.parametrize(
    ("conninfo", "address"),
    [
        ("host=a", "a:5432"),
        ("host=a port=5433", "a:5433"),
        ("host=a,b", "a:5432, b:5432"),
        ("host=a,b port=5433", "a:5433, b:5433"),
        ("host=a,b port=5433,", "a:5433, b:5432"),
        ("host=a,b port=,5433", "a:5432, b:5433"),
        ("hostaddr=10.0.0.1,10.0.0.2 port=1,2", "10.0.0.1:1, 10.0.0.2:2"),
    ],
)
def test_each_host_is_shown_with_the_port_at_which_it_is_dialled(conninfo: str, address: str) -> None:
    """A port that is left out is 5432, for each host by itself, as libpq has it."""
    cluster = Cluster("one", Tier.PREMIUM, None, conninfo, "db", "postgres", "", datetime.now(UTC), 0)

    assert cluster_json(cluster)["address"] == address
