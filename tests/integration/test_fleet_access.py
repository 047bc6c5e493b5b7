"""A server that does not answer an administrator is taken for down soon."""

import socket

import pytest

from fleet import access
from fleet.access import ClusterAccess, bounded, open_admin
from fleet.errors import ClusterUnreachable
from tiergate.deadline import Deadline


async def test_a_server_that_says_nothing_does_not_use_up_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "CONNECT_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        silent = ClusterAccess("silent", f"host=127.0.0.1 port={port}", "postgres", "postgres", "")
        deadline = Deadline.after(60)

        with pytest.raises(ClusterUnreachable):
            async with bounded(silent, "be asked", deadline), open_admin(silent, "postgres", deadline):
                pass

    assert deadline.left_s() > 0
