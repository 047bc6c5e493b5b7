"""The names in the path of a request: what cannot be one is not found."""

from starlette.requests import Request

from admin.errors import BodyInvalid
from admin.shapes import read_query
from admin.tenant_shapes import Confirmation
from registry.errors import UnknownCluster, UnknownTenant
from tiergate.tenant import TenantId, tenant_id


def tenant_of(request: Request) -> TenantId:
    """The tenant in the path.

    Raises:
        UnknownTenant: No tenant can have that name.
    """
    name = request.path_params["name"]
    tenant = tenant_id(name)
    if tenant is None:
        raise UnknownTenant(name)
    return tenant


def cluster_of(request: Request) -> str:
    """The cluster in the path.

    Raises:
        UnknownCluster: No cluster can have that name.
    """
    name: str = request.path_params["name"]
    if tenant_id(name) is None:
        raise UnknownCluster(name)
    return name


def confirmed(request: Request) -> str:
    """The name in the path, which the query repeats: for what has no way back.

    Raises:
        BodyInvalid: It does not, or says another.
    """
    name: str = request.path_params["name"]
    if read_query(Confirmation, request.query_params).confirm != name:
        raise BodyInvalid([f"confirm: should be {name!r}, the name of what is to go"])
    return name
