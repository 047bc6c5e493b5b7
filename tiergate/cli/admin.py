"""The admin API, as the commands ask it."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tiergate.cli.errors import AdminRefused, AdminUnknown, AdminUnreachable, BadInput

if TYPE_CHECKING:
    import httpx

DEMO = Path(".tiergate") / "demo.json"
_TIMEOUT_S = 60.0  # a government tenant's database takes about a second; a slow cluster may take many
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """Which gateway, and with which key."""

    url: str
    key: str = field(repr=False)


def find_address(
    url: str | None, key: str | None, *, env: Mapping[str, str] = os.environ, demo: Path = DEMO
) -> Address:
    """Where the admin API is: as given, else from the environment, else the demo of this folder.

    The demo's key goes to the demo's address only, never to one that was given.

    Raises:
        AdminUnknown: The address or the key is not to be found.
        BadInput: The address is no http or https URL, or the demo's file is damaged.
    """
    url = url or env.get("TIERGATE_ADMIN_URL")
    key = key or env.get("TIERGATE_ADMIN_KEY")
    if url is None and (found := _demo(demo)) is not None:
        return Address(found.url, key or found.key)
    if url is None:
        raise AdminUnknown(
            "the gateway's admin address",
            "Give --admin URL or TIERGATE_ADMIN_URL, or be in the folder where `make demo` runs.",
        )
    url = url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise BadInput("the admin address is no URL", "Write it like http://127.0.0.1:8081.")
    if key is None:
        found = _demo(demo)
        if found is None or found.url != url:
            raise AdminUnknown("the admin key", "Set TIERGATE_ADMIN_KEY to the value of admin.key.")
        key = found.key
    return Address(url, key)


def _demo(path: Path) -> Address | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Address(str(facts["admin"]).rstrip("/"), str(facts["admin_key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be used", "Start the demo again, or remove the file.") from error


def path_of(*parts: str) -> str:
    """A path of the API; names that hold a slash stay one part."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class Admin:
    """Asks the admin API; made by `open_admin`."""

    def __init__(self, client: "httpx.Client", url: str) -> None:
        self._client = client
        self._url = url

    def ask(
        self, method: str, path: str, body: object = None, query: Mapping[str, str | int] | None = None
    ) -> dict[str, object]:
        """The answer's JSON object.

        Raises:
            AdminRefused: The gateway said no.
            AdminUnreachable: There was no answer, or not one of tiergate's.
        """
        return self.act(method, path, body, query)[1]

    def act(
        self, method: str, path: str, body: object = None, query: Mapping[str, str | int] | None = None
    ) -> tuple[int, dict[str, object]]:
        """Which of the good statuses it was, and the answer's JSON object.

        Raises:
            AdminRefused, AdminUnreachable: As above.
        """
        status, answer = self.send(method, path, body, query)
        if status >= 400:  # noqa: PLR2004 - HTTP: from here on it is an error
            raise self.refusal(status, answer)
        return status, answer

    def send(
        self, method: str, path: str, body: object = None, query: Mapping[str, str | int] | None = None
    ) -> tuple[int, dict[str, object]]:
        """Status and JSON object, whatever the status.

        Raises:
            AdminUnreachable: As above.
        """
        import httpx  # noqa: PLC0415 - takes 0.2 s to import, which `--help` must not pay

        try:
            response = self._client.request(method, path, json=body, params=query)
            answer = response.json()
        except httpx.TimeoutException as error:
            raise AdminUnreachable(self._url, "no answer in time") from error
        except httpx.HTTPError as error:
            raise AdminUnreachable(self._url, str(error) or type(error).__name__) from error
        except ValueError as error:
            raise AdminUnreachable(self._url, "what answers there is not tiergate's admin API") from error
        if not isinstance(answer, dict):
            raise AdminUnreachable(self._url, "what answers there is not tiergate's admin API")
        return response.status_code, answer

    def text(self, path: str) -> str:
        """An answer that is no JSON.

        Raises:
            AdminUnreachable: As above, or it was not a good one.
        """
        import httpx  # noqa: PLC0415 - see `send`

        try:
            return self._client.get(path).raise_for_status().text
        except httpx.TimeoutException as error:
            raise AdminUnreachable(self._url, "no answer in time") from error
        except httpx.HTTPStatusError as error:
            why = f"what answers there (status {error.response.status_code}) is not tiergate's admin API"
            raise AdminUnreachable(self._url, why) from error
        except httpx.HTTPError as error:
            raise AdminUnreachable(self._url, str(error) or type(error).__name__) from error

    def stream(self, method: str, path: str, body: object = None) -> Iterator[dict[str, object]]:
        """The objects of an answer that comes line by line, each as soon as it is there.

        Raises:
            AdminRefused, AdminUnreachable: As above; also when the answer ends in an error.
        """
        import httpx  # noqa: PLC0415 - see `send`

        try:
            with self._client.stream(method, path, json=body) as response:
                if response.status_code >= 400:  # noqa: PLR2004 - HTTP: from here on it is an error
                    answer = json.loads(response.read())
                    raise self.refusal(response.status_code, answer if isinstance(answer, dict) else {})
                for line in response.iter_lines():
                    told = json.loads(line)
                    if told.get("event") == "error":
                        raise self.refusal(response.status_code, told)
                    yield told
        except httpx.HTTPError as error:
            raise AdminUnreachable(self._url, str(error) or type(error).__name__) from error
        except ValueError as error:
            raise AdminUnreachable(self._url, "what answers there is not tiergate's admin API") from error

    def refusal(self, status: int, answer: dict[str, object]) -> AdminRefused | AdminUnreachable:
        """The error that an answer tells of."""
        match answer.get("error"):
            case {"code": str(code), "message": str(message), **rest}:
                mistakes = rest.get("mistakes")
                if isinstance(mistakes, list):
                    message = "\n".join([message, *(f"  {mistake}" for mistake in mistakes)])
                advice, retryable = str(rest.get("advice") or ""), rest.get("retryable") is True
                return AdminRefused(status, code, message, advice=advice, retryable=retryable)
            case _:
                return AdminUnreachable(
                    self._url, f"what answers there (status {status}) is not tiergate's admin API"
                )


@contextmanager
def open_admin(address: Address, *, timeout_s: float = _TIMEOUT_S) -> Iterator[Admin]:
    """A connection to the admin API.

    Raises:
        BadInput: The key cannot be sent.
    """
    import httpx  # noqa: PLC0415 - see `Admin.send`

    if not address.key.isascii() or not address.key.isprintable():
        raise BadInput("the admin key holds characters that no key has", "Compare it with admin.key.")
    headers = {"authorization": f"Bearer {address.key}", "tiergate-actor": _actor()}
    timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
    # No proxy of the environment: the admin key is for the gateway's eyes only.
    with httpx.Client(base_url=address.url, headers=headers, timeout=timeout, trust_env=False) as client:
        yield Admin(client, address.url)


def _actor() -> str:
    """Who sits at the keyboard, for the audit; a claim, not a proof."""
    import getpass  # noqa: PLC0415

    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return f"cli:{name}".encode("ascii", "replace").decode()
