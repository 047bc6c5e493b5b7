"""The errors that routes of the admin API tell of, in groups: what they have in common, they say once."""

from admin.errors import (
    AcrossClosed,
    AcrossKeyNeeded,
    AcrossNotAdmitted,
    AdminKeyTaken,
    KeyInUse,
    NotProven,
    ScopeShared,
)
from config.errors import SettingsInvalid
from fleet.errors import (
    ApplicationChanged,
    ApplicationInvalid,
    ClusterTaken,
    ClusterUnfit,
    ClusterUnreachable,
    ContextKeyConflict,
    FenceConflict,
    NotSuperuser,
    PlaceTaken,
    PoolerUnfit,
    ProvisioningFailed,
    ProvisioningTimeout,
    ReplicaUnfit,
    WrongServer,
)
from moves.errors import MoveRefused
from pools.errors import StatementCostly, StatementRefused, StatementTooLong
from registry.errors import (
    BadCluster,
    ClusterExists,
    ClusterInUse,
    MoveOpen,
    NoCluster,
    RegistryFailed,
    RegistryUnavailable,
    ResidencyViolated,
    SamePlace,
    SecretUnreadable,
    TenantExists,
    TenantServed,
    UnknownCluster,
    UnknownCredential,
    UnknownDatabase,
    UnknownMove,
    UnknownPlace,
    UnknownReplica,
    UnknownTenant,
    WrongState,
    WrongTier,
)
from tiergate.errors import TiergateError
from verify.errors import VerifyRunning

Group = tuple[type[TiergateError], ...]

REGISTRY: Group = (RegistryUnavailable, RegistryFailed, SecretUnreadable)
"""Of everything that asks the registry."""

CLUSTER: Group = (
    *REGISTRY, ClusterUnreachable, NotSuperuser, ClusterUnfit, WrongServer, ProvisioningTimeout,
    ProvisioningFailed,
)  # fmt: skip
"""Of everything that reaches a cluster as its administrator."""

MAKING: Group = (PlaceTaken, ApplicationInvalid, ApplicationChanged, ContextKeyConflict)
"""Of what makes a place."""

NOWHERE: Group = (UnknownCluster, NoCluster, WrongTier, ResidencyViolated)
"""Of what looks for a cluster."""

STATEMENT: Group = (StatementRefused, StatementCostly, StatementTooLong)

__all__ = [
    "CLUSTER", "MAKING", "NOWHERE", "REGISTRY", "STATEMENT", "AcrossClosed", "AcrossKeyNeeded",
    "AcrossNotAdmitted", "AdminKeyTaken", "BadCluster", "ClusterExists", "ClusterInUse", "ClusterTaken",
    "ContextKeyConflict", "FenceConflict", "KeyInUse", "MoveOpen", "MoveRefused", "NotProven",
    "PoolerUnfit", "ReplicaUnfit", "SamePlace", "ScopeShared", "SettingsInvalid", "TenantExists",
    "TenantServed", "UnknownCluster", "UnknownCredential", "UnknownDatabase", "UnknownMove", "UnknownPlace",
    "UnknownReplica", "UnknownTenant", "VerifyRunning", "WrongServer", "WrongState",
]  # fmt: skip
