"""What statements give back: rows in any number and width, fields, tags, and the settings they had."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pools.errors import StatementFailed
from pools.lease import Isolation
from pools.result import Field
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import POOL, Places, open_places, open_pools, pool_limits, run, value
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture(scope="module")
async def pools(places: Places) -> AsyncIterator[Switchboard]:
    async with open_pools() as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.STANDARD)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1023, 1024, 1025, 5000])
async def test_any_number_of_rows_arrives_in_order(pools: Switchboard, acme: Placement, count: int) -> None:
    """Rows come in chunks of 512; the edges are where a tag or a row could be lost."""
    for _ in range(3):
        [result] = await run(pools, acme, f"SELECT i, i::text FROM generate_series(1, {count}) AS i")

        assert result.rows == [(str(i), str(i)) for i in range(1, count + 1)]
        assert result.command_tag == f"SELECT {count}"
        assert [field.name for field in result.fields] == ["i", "i"]


async def test_results_of_a_batch_are_told_apart(pools: Switchboard, acme: Placement) -> None:
    counts = [0, 512, 3, 1024, 0, 1]
    results = await run(pools, acme, *(f"SELECT {n} FROM generate_series(1, {n})" for n in counts))

    assert [len(result.rows) for result in results] == counts
    assert [result.command_tag for result in results] == [f"SELECT {n}" for n in counts]


async def test_a_batch_of_nothing_gives_nothing(pools: Switchboard, acme: Placement) -> None:
    assert await run(pools, acme) == []


async def test_null_is_none_and_an_empty_text_is_a_text(pools: Switchboard, acme: Placement) -> None:
    [result] = await run(pools, acme, "SELECT NULL, '', NULL::int, 'NULL'")

    assert result.rows == [(None, "", None, "NULL")]


async def test_a_row_may_have_no_columns(pools: Switchboard, acme: Placement) -> None:
    [result] = await run(pools, acme, "SELECT FROM generate_series(1, 600)")

    assert result.fields == ()
    assert result.rows == [()] * 600
    assert result.command_tag == "SELECT 600"


async def test_a_row_may_have_as_many_columns_as_postgres_allows(pools: Switchboard, acme: Placement) -> None:
    [result] = await run(pools, acme, "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(1664)))

    assert result.rows == [tuple(str(i) for i in range(1664))]
    assert result.fields[1663].name == "c1663"


async def test_values_come_in_postgress_own_text_form(pools: Switchboard, acme: Placement) -> None:
    wanted = {
        "true": "t", "1.50::numeric": "1.50", "'{1,NULL}'::int[]": "{1,NULL}", "'\\x00ff'::bytea": "\\x00ff",
        "'{\"a\": 1}'::jsonb": '{"a": 1}', "'2020-01-02 03:04:05+00'::timestamptz": "2020-01-02 03:04:05+00",
        "9223372036854775807": "9223372036854775807", "'NaN'::float8": "NaN",
        "'é\N{SLICE OF PIZZA}'": "é\N{SLICE OF PIZZA}",
    }  # fmt: skip
    [result] = await run(pools, acme, "SELECT " + ", ".join(wanted))

    assert result.rows == [tuple(wanted.values())]


async def test_a_field_is_described_as_postgres_describes_it(pools: Switchboard, acme: Placement) -> None:
    [result] = await run(pools, acme, "SELECT n.id, 1.5::numeric(10, 2) AS price FROM notes AS n")
    field, price = result.fields

    assert field.name == "id"
    assert field.table_oid > 0
    assert field[2:] == (2, 23, 4, -1)
    assert price == Field("price", 0, 0, 1700, -1, (10 << 16 | 2) + 4)


async def test_a_wide_row_arrives_whole(pools: Switchboard, acme: Placement) -> None:
    [result] = await run(pools, acme, "SELECT repeat('x', 3000000), repeat('y', 2000000), NULL")

    assert result.rows == [("x" * 3_000_000, "y" * 2_000_000, None)]


async def test_many_wide_rows_arrive_whole(pools: Switchboard, acme: Placement) -> None:
    """1,000 rows of 10 kB: beyond every buffer in between."""
    [result] = await run(pools, acme, "SELECT i, repeat('x', 10000) FROM generate_series(1, 1000) AS i")

    assert [row[0] for row in result.rows] == [str(i) for i in range(1, 1001)]
    assert {row[1] for row in result.rows} == {"x" * 10_000}


async def test_writes_tell_their_tags_and_what_they_return(pools: Switchboard, acme: Placement) -> None:
    merge = (
        "MERGE INTO notes AS n USING (VALUES (1), (9)) AS v (id) ON n.id = v.id"
        " WHEN MATCHED THEN UPDATE SET body = 'merged' WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)"
    )
    results = await run(
        pools, acme,
        "INSERT INTO notes (id, body) VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO notes (id) SELECT i FROM generate_series(10, 1009) AS i RETURNING id",
        "UPDATE notes SET body = 'c' WHERE id = 2 RETURNING id, body",
        merge,
        "DELETE FROM notes WHERE id >= 10",
        "DELETE FROM notes WHERE false",
        "SELECT id, body FROM notes ORDER BY id",
        "VALUES (1), (2)",
        "TABLE replies",
    )  # fmt: skip

    tags = [
        "INSERT 0 2",
        "INSERT 0 1000",
        "UPDATE 1",
        "MERGE 2",
        "DELETE 1000",
        "DELETE 0",
        "SELECT 3",
        "SELECT 2",
        "SELECT 0",
    ]
    assert [result.command_tag for result in results] == tags
    assert results[0].fields == ()
    assert results[0].rows == []
    assert len(results[1].rows) == 1000
    assert results[2].rows == [("2", "c")]
    assert results[6].rows == [("1", "merged"), ("2", "c"), ("9", None)]


async def test_parameters_carry_any_text_and_null(pools: Switchboard, acme: Placement) -> None:
    for _ in range(3):
        [result] = await run(
            pools,
            acme,
            Statement(
                "SELECT $1::text, $2::int + 1, $3::text, $4::bytea", (b"'; --\xc3\xa9", b"41", None, b"\\x00")
            ),
        )

        assert result.rows == [("'; --é", "42", None, "\\x00")]


async def test_65535_parameters_are_as_many_as_the_protocol_takes(
    pools: Switchboard, acme: Placement
) -> None:
    text = "SELECT cardinality(ARRAY[" + ",".join(f"${i}" for i in range(1, 65536)) + "]::int[])"

    assert await value(pools, acme, Statement(text, (b"7",) * 65535)) == "65535"


async def test_a_wrong_number_of_parameters_fails_and_the_connection_lives_on(acme: Placement) -> None:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=1))) as one:
        pid = await value(one, acme, "SELECT pg_backend_pid()")
        for params in [(), (b"1",), (b"1", b"2", b"3")]:
            for _ in range(3):
                with pytest.raises(StatementFailed) as failed:
                    await run(one, acme, Statement("SELECT $1::int + $2::int", params))

                assert failed.value.error.code == "08P01"

        assert await value(one, acme, "SELECT pg_backend_pid()") == pid


async def test_10_mb_go_both_ways_at_once(pools: Switchboard, acme: Placement) -> None:
    """The server begins to answer while it still reads: neither side may wait for the other."""
    big = b"x" * (10 * MEGABYTE)
    results = await run(
        pools, acme,
        Statement("SELECT $1::text", (big,)),
        Statement("SELECT length($1::text)", (big,)),
        Statement("SELECT $1::text", (big,)),
    )  # fmt: skip

    assert [len(result.rows[0][0] or "") for result in results] == [len(big), 8, len(big)]
    assert results[1].rows == [(str(len(big)),)]


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("isolation", [None, *Isolation])
async def test_a_transaction_has_the_isolation_it_was_asked_for(
    places: Places, pools: Switchboard, tier: Tier, isolation: Isolation | None
) -> None:
    placement = await places.create(tier)
    [result] = await run(
        pools, placement,
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
        " current_setting('transaction_deferrable')", isolation=isolation,
    )  # fmt: skip

    assert result.rows == [((isolation or Isolation.READ_COMMITTED).lower(), "off", "off")]


async def test_read_only_and_deferrable_are_really_set(pools: Switchboard, acme: Placement) -> None:
    settings = "SELECT current_setting('transaction_read_only'), current_setting('transaction_deferrable')"
    [result] = await run(
        pools, acme, settings, isolation=Isolation.SERIALIZABLE, read_only=True, deferrable=True
    )
    assert result.rows == [("on", "on")]

    [result] = await run(pools, acme, settings)
    assert result.rows == [("off", "off")]


async def test_a_read_only_transaction_refuses_to_write(pools: Switchboard, acme: Placement) -> None:
    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, "INSERT INTO notes (id) VALUES (1)", read_only=True)

    assert failed.value.error.code == "25006"


@pytest.mark.parametrize("tier", Tier)
async def test_a_tenant_writes_and_reads_its_own_rows_and_no_others(
    places: Places, pools: Switchboard, tier: Tier
) -> None:
    one, other = await places.create(tier), await places.create(tier)
    await run(pools, one, "INSERT INTO notes (id, body) VALUES (1, 'mine')")
    await run(pools, other, "INSERT INTO notes (id, body) VALUES (1, 'theirs')")

    [result] = await run(pools, one, "SELECT tenant_id, body FROM notes")
    assert result.rows == [(one.tenant, "mine")]
    [result] = await run(pools, other, "UPDATE notes SET body = 'changed' RETURNING tenant_id")
    assert result.rows == [(other.tenant,)]
    [result] = await run(pools, one, "SELECT body FROM notes")
    assert result.rows == [("mine",)]


async def test_a_statements_own_time_is_what_the_request_was_given(
    pools: Switchboard, acme: Placement
) -> None:
    """The role's default of a minute is only for what comes before."""
    [result] = await run(
        pools, acme, "SELECT current_setting('statement_timeout')", statement_timeout_s=7, within_s=20
    )

    assert result.rows == [("7s",)]
