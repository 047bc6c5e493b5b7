"""JSON of the admin API about clusters, their poolers and their replicas."""

from typing import Annotated

from psycopg.conninfo import conninfo_to_dict
from pydantic import Field

from admin.shapes import Json, Label, Shape
from registry.records import Cluster
from tiergate.tenant import Tier


class NewCluster(Shape):
    """`POST /clusters`."""

    name: Label
    tier: Tier
    region: Label | None = None
    dsn: Annotated[str, Field(min_length=1, max_length=8192, repr=False)]


class NewAddress(Shape):
    """`PUT /clusters/{name}/address`."""

    dsn: Annotated[str, Field(min_length=1, max_length=8192, repr=False)]


class NewPooler(Shape):
    """`PUT /clusters/{name}/pgbouncer`."""

    address: Annotated[str, Field(min_length=1, max_length=8192)]
    prepared_statements: bool = False


class NewReplica(Shape):
    """`PUT /clusters/{name}/replicas/{replica}`."""

    address: Annotated[str, Field(min_length=1, max_length=8192)]


def cluster_json(cluster: Cluster) -> Json:
    """A cluster, without its administrator's password."""
    return {
        "name": cluster.name,
        "tier": cluster.tier,
        "region": cluster.region,
        "address": _address(cluster.conninfo),
        "database": cluster.database,
        "admin_user": cluster.admin_user,
        "pgbouncer": _address(cluster.pgbouncer) if cluster.pgbouncer else None,
        "pgbouncer_prepares": cluster.pgbouncer_prepares,
        "replicas": [
            {"name": replica.name, "address": _address(replica.conninfo)} for replica in cluster.replicas
        ],
        "tenants": cluster.tenants,
        "created_at": cluster.created_at,
    }


def _address(conninfo: str) -> str:
    keywords = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    hosts = (keywords.get("host") or keywords["hostaddr"]).split(",")
    ports = [port or "5432" for port in keywords.get("port", "").split(",")]
    return ", ".join(map("{}:{}".format, hosts, ports * (len(hosts) if len(ports) == 1 else 1)))
