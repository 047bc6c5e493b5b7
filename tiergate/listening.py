"""Sockets that listen, and the HTTP servers on them. We own signals and lifetimes; uvicorn only serves."""

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from config.settings import Settings
from router.connection import Connection
from tiergate.errors import TiergateError

_BACKLOG = 4096
_KEEP_ALIVE_S = 75


class PortTaken(TiergateError):
    """Somebody listens on the address already, or we may not."""

    code = "port-taken"
    advice = "Choose another port, or end what listens there."

    def __init__(self, what: str, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host}:{port} for the {what}: {reason}")


def listen(what: str, host: str, port: int) -> socket.socket:
    """A socket that listens; *port* 0 takes a free one.

    Raises:
        PortTaken: The address cannot be had; *what* names its purpose.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as exc:
        raise PortTaken(what, host, port, getattr(exc, "strerror", None) or str(exc)) from exc


def url(listening: socket.socket) -> str:
    """The address of *listening*, as one writes it into a client."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The two listening sockets of a gateway; several processes may share them."""

    gateway: socket.socket
    admin: socket.socket

    @classmethod
    def open(cls, host: str, port: int, admin_host: str, admin_port: int) -> "Addresses":
        """Listen on both; port 0 takes a free one.

        Raises:
            PortTaken: One of the addresses cannot be had.
        """
        front = listen("gateway", host, port)
        try:
            return cls(front, listen("admin API", admin_host, admin_port))
        except PortTaken:
            front.close()
            raise

    @classmethod
    def of(cls, settings: Settings) -> "Addresses":
        """Listen where *settings* say; as `open`."""
        gateway, admin = settings.gateway, settings.admin
        return cls.open(gateway.host, gateway.port, admin.host, admin.port)

    def close(self) -> None:
        """Listen no more."""
        self.gateway.close()
        self.admin.close()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process before our own clean-up."""

    def __init__(self, app: ASGIApp, head_timeout_s: Callable[[], float]) -> None:
        """*head_timeout_s* is asked at each request how long its headers may take to arrive."""
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", partial(Connection, head_timeout_s=head_timeout_s)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )

    def end(self, *, within_s: float) -> None:
        """Close the address, and cut off whoever has not got an answer within that time."""
        self.config.timeout_graceful_shutdown = math.ceil(within_s)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield
