"""A refusal at the dial is the server's, or one login's; the words may be in any language."""

import pytest

from pools.refusal import first_line, is_of_server

TO = 'connection to server at "10.0.0.1", port 5432 failed: '


def refused(code: str, routine: str = "ProcessStartupPacket", severity: str = "FATAL") -> str:
    return f"{TO}{severity}:  {code}: was soll das\nLOCATION:  {routine}, postinit.c:300"


@pytest.mark.parametrize(
    "told",
    [
        f"{TO}Connection refused\n\tIs the server running on that host?",
        f"{TO}server closed the connection unexpectedly",
        "no address is known for nowhere.invalid",
        refused("57P03"),
        refused("57P01", severity="SCHWERWIEGEND"),
        refused("53300"),
        refused("53300", "InitPostgres"),
        f"{TO}Connection refused\n{refused('57P03')}",
    ],
)
def test_what_everybody_would_meet_is_the_servers(told: str) -> None:
    assert is_of_server(told)


@pytest.mark.parametrize(
    "told",
    [
        refused("28P01"),
        refused("28000", severity="致命错误"),
        refused("3D000"),
        refused("42501"),
        refused("53300", "InitializeSessionUserId"),
        refused("53300", "CheckMyDatabase"),
        refused("08P01"),
        f"{TO}Connection refused\n{refused('28P01')}",
    ],
)
def test_what_one_login_or_database_meets_is_its_own(told: str) -> None:
    assert not is_of_server(told)


def test_the_log_need_not_know_postgress_source() -> None:
    assert first_line(refused("28P01")) == f"{TO}FATAL:  28P01: was soll das"
