"""TLS in front of a server that knows none, as a pooler or a cloud's door would put it there."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from registry.placement import Placement

_SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"  # PostgreSQL 18, 54.7, SSLRequest: 8 bytes, 80877103
_PIECE_BYTES = 65536


@asynccontextmanager
async def open_tls_way(placement: Placement) -> AsyncIterator[Placement]:
    """*placement* by way of TLS; what is open is cut at the end."""
    context = _context()
    part = conninfo_to_dict(placement.place.conninfo)
    carrying: set[asyncio.Task[None]] = set()

    async def carry(from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server: asyncio.StreamWriter | None = None
        try:
            assert await from_client.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST
            client.write(b"S")
            await client.start_tls(context)
            from_server, server = await asyncio.open_connection(str(part["host"]), int(str(part["port"])))
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(from_client, server), name="client to server")
                pumps.create_task(_pump(from_server, client), name="server to client")
        except* OSError:
            pass  # either end is gone
        finally:
            for end in (client, server):
                if end is not None:
                    end.transport.abort()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(carry(reader, writer), name="carry a connection")
        carrying.add(task)
        task.add_done_callback(carrying.discard)

    async with await asyncio.start_server(take, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()[:2]
        conninfo = make_conninfo(placement.place.conninfo, host=host, port=port, sslmode="require")
        try:
            yield replace(placement, place=replace(placement.place, conninfo=conninfo))
        finally:
            ends = list(carrying)
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE_BYTES):
        sink.write(piece)
        await sink.drain()
    sink.transport.abort()


def _context() -> ssl.SSLContext:
    """A server's, with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        pem = serialization.Encoding.PEM
        chain.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        context.load_cert_chain(chain)
    return context
