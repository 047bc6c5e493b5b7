"""What an operator may add to the guard's lists, and what not."""

import pytest

from guard.additions import AdditionDangerous, Additions, AdditionUnreadable
from guard.catalog import Catalog, catalog
from guard.lists import allowed, dangerous, why_dangerous


def made(**names: set[str]) -> Catalog:
    added = Additions(**{part: frozenset(each) for part, each in names.items()})
    return catalog(added, schemas=frozenset({"public", "app"}), explain=False)


def test_without_additions_the_lists_are_those_of_the_data() -> None:
    functions = frozenset[str]().union(*allowed().functions.values())

    assert made().functions == functions
    assert made().operators == allowed().operators
    assert made().own_schemas == {"public", "app"}


def test_what_is_added_is_allowed_as_a_call_and_after_a_dot() -> None:
    brought = made(functions={"total", "int4up"})

    assert {"total", "int4up"} <= brought.functions
    assert not {"total", "int4up"} & brought.attributes_denied
    assert brought.own_functions == {"total", "int4up"}


def test_an_extension_brings_its_functions_types_and_operators() -> None:
    with_vectors = made(extensions={"vector", "pg_trgm"})

    assert {"cosine_distance", "similarity"} <= with_vectors.functions
    assert "halfvec" in with_vectors.types
    assert {"<=>", "<%"} <= with_vectors.operators


def test_an_extension_for_indexes_alone_can_be_added_and_brings_nothing() -> None:
    assert made(extensions={"btree_gin"}) == made()


@pytest.mark.parametrize(
    "name",
    [
        "pg_sleep", "pg_terminate_backend", "pg_read_file", "lo_import", "dblink", "dblink_exec", "crosstab",
        "crosstab4", "connectby", "query_to_xml", "ts_stat", "ts_rewrite", "set_config", "current_setting",
        "nextval", "to_regclass", "regclass", "has_table_privilege", "txid_current", "set_limit", "http_get",
        "xpath", "obj_description", "inet_server_addr",
    ],
)  # fmt: skip
def test_a_function_that_acts_or_tells_cannot_be_added(name: str) -> None:
    with pytest.raises(AdditionDangerous, match=name) as refused:
        made(functions={name})

    assert refused.value.reason


@pytest.mark.parametrize(
    "name", ["regclass", "_regclass", "regrole", "oid", "xid", "xml", "refcursor", "pg_lsn"]
)
def test_a_type_that_looks_up_or_belongs_to_the_system_cannot_be_added(name: str) -> None:
    with pytest.raises(AdditionDangerous, match=name.removeprefix("_")):
        made(types={name})


@pytest.mark.parametrize("part", ["functions", "types"])
@pytest.mark.parametrize("name", ["pg_sleep", "regtype"])
def test_a_dangerous_name_cannot_come_in_as_another_kind(part: str, name: str) -> None:
    with pytest.raises(AdditionDangerous):
        made(**{part: {name}})


@pytest.mark.parametrize(
    "name", ["dblink", "postgres_fdw", "tablefunc", "plpython3u", "pg_stat_statements", "lo"]
)
def test_an_extension_that_acts_or_tells_cannot_be_added(name: str) -> None:
    with pytest.raises(AdditionDangerous, match=name):
        made(extensions={name})


def test_an_extension_that_is_not_known_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(AdditionUnreadable, match=r"'postgis'.*pg_trgm, .*vector"):
        made(extensions={"postgis"})


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("functions", "public.total"), ("functions", '"Total"'), ("functions", "a total"), ("functions", ""),
        ("functions", "t*"), ("types", "app.mood"), ("types", "int []"), ("operators", "plus"),
        ("operators", ""), ("operators", "<-> "),
    ],
)  # fmt: skip
def test_a_name_that_no_statement_could_mean_is_an_error(part: str, name: str) -> None:
    with pytest.raises(AdditionUnreadable):
        made(**{part: {name}})


def test_names_of_the_application_are_not_taken_for_dangerous_ones() -> None:
    names = {
        "create_order",
        "has_access",
        "to_region",
        "net_amount",
        "drop_off",
        "user_name",
        "regional_total",
    }

    assert [name for name in names if why_dangerous(name, dangerous().functions)] == []


@pytest.mark.parametrize(
    "name",
    [
        "name",
        "date",
        "path",
        "length",
        "version",
        "user",
        "system",
        "trigger",
        "record",
        "area",
        "oid",
        "tid",
    ],
)
def test_columns_called_so_can_be_written_after_their_table(name: str) -> None:
    assert name not in made().attributes_denied


@pytest.mark.parametrize(
    "name",
    [
        "pg_terminate_backend", "pg_sleep", "nextval", "regclass", "_regclass", "xid", "xml", "set_limit",
        "setseed", "currval", "xmlcomment", "regclassin", "http_get", "dblink_cancel_query", "lo_unlink",
        "crosstab",
    ],
)  # fmt: skip
def test_what_acts_is_denied_after_a_dot(name: str) -> None:
    assert name in made().attributes_denied


def test_nothing_that_is_allowed_is_dangerous() -> None:
    lists = made()

    assert [name for name in lists.functions if why_dangerous(name, dangerous().functions)] == []
    assert [name for name in lists.types if why_dangerous(name, dangerous().types)] == []
