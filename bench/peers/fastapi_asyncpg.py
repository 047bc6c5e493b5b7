"""The peer: row-level security by hand, as a good team writes it with FastAPI and asyncpg.

A pool, a transaction for each request, `set_config('app.tenant', …, true)` in it, and a
policy that compares. Keys are hashed and looked up in memory. Its address and its keys come
from the environment: PEER_DSN, and PEER_KEYS as `{"sha256 of a key": "tenant"}`.
"""

import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

POOL_SIZE = 20  # as the gateway's standard pool
READ = "SELECT id, email, name, joined_at FROM members WHERE id = $1"


class Member(BaseModel):
    """One member, as the API gives it."""

    id: UUID
    email: str
    name: str
    joined_at: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the pool for as long as the service runs."""
    async with asyncpg.create_pool(os.environ["PEER_DSN"], min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
keys: dict[str, str] = json.loads(os.environ["PEER_KEYS"])


async def tenant(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """The tenant whose key the request carries."""
    found = keys.get(hashlib.sha256(credentials.credentials.encode()).hexdigest())
    if found is None:
        raise HTTPException(status_code=401)
    return found


@app.get("/members/{member_id}")
async def read_member(request: Request, member_id: UUID, tenant: Annotated[str, Depends(tenant)]) -> Member:
    """One member of the tenant's."""
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant', $1, true)", tenant)
        row = await connection.fetchrow(READ, member_id)
    if row is None:
        raise HTTPException(status_code=404)
    return Member(**row)
