"""How the registry's URL is read."""

import pytest

from registry.link import dsn


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_every_usual_spelling_of_the_scheme_is_understood(scheme: str) -> None:
    assert dsn(f"{scheme}://u:p@h:5433/d") == "postgresql://u:p@h:5433/d"


def test_tls_and_hosts_are_left_for_the_driver_to_read() -> None:
    url = "postgresql://u:p%40@a:1,b:2/d?sslmode=verify-full&target_session_attrs=read-write"

    assert dsn(url) == url


def test_what_only_libpq_understands_is_not_sent_to_the_server() -> None:
    assert (
        dsn("postgresql://h/d?connect_timeout=3&sslmode=require&keepalives=1")
        == "postgresql://h/d?sslmode=require"
    )
