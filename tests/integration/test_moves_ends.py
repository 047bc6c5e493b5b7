"""The sessions of a mover are the same, whatever a server's own settings are."""

import pytest
from psycopg import sql

from moves.ends import open_end
from tests.support.moves_engine import open_moving, open_pair
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster


@pytest.mark.parametrize(
    ("set_to", "is_"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_what_one_end_has_done_outlives_its_crash(postgres: Cluster, set_to: str, is_: str) -> None:
    async with open_pair(postgres) as pair, open_moving(pair) as moving:
        end = moving.way.target
        database = sql.Identifier(end.placement.place.database)
        change = sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(
            database, sql.Literal(set_to)
        )
        await moving.target.execute(change)

        async with open_end(end, Deadline.after(60)) as connection:
            cursor = await connection.execute("SHOW synchronous_commit")
            assert await cursor.fetchone() == (is_,)
