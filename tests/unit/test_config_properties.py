"""However a document is spoilt, it loads or its mistakes are told, and no secret with them."""

import copy
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from config.changes import changes, merged
from config.errors import SettingsInvalid
from config.load import load
from config.schema import SCHEMA, leaves
from config.settings import Settings

FROM_ENV = "s3cret-from-the-environment-0123456789"
WRITTEN = "s3cret-in-the-file-itself-0123456789"
MASTER = "s3cret-master-0123456789-0123456789"
SECRETS = (FROM_ENV, WRITTEN, MASTER)
WHERE = {path for path, leaf in leaves(SCHEMA) if leaf.secret}
ENV = {"KEY": FROM_ENV, "MASTER": MASTER, "PORT": "8088"}
VALID: dict[str, Any] = {  # Any: what YAML may hold
    "gateway": {
        "port": "${env:PORT}",
        "host": "127.0.0.1",
        "request_timeout_s": 30,
        "domain": "db.example.com",
    },
    "admin": {"key": "${env:KEY}", "port": 8081},
    "registry": {"url": f"postgresql://u:{WRITTEN}@db:5432/registry", "ttl_s": 60},
    "secrets": {"master_key": "${env:MASTER}"},
    "pools": {"max_db_connections": 80, "tiers": {"standard": {"default_pool_size": 20}, "premium": None}},
    "identity": {
        "jwt": [
            {"issuer": "i", "audience": "a", "algorithms": ["HS256"], "secret": WRITTEN},
            {"issuer": "j", "audience": "a", "algorithms": ["RS256"], "jwks_url": "https://keys.example.com"},
        ]
    },
    "application": {"sql": ".", "schema": "app"},
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["${env:KEY}", "${env:NOPE}", "${file:nope}", "${", "$${", "x${env:KEY}", WRITTEN, 10**400, ""]
    ),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
keys = st.sampled_from([path.split(".")[-1] for path, _ in leaves(SCHEMA)]) | st.text(max_size=12)


def places(
    value: Any, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:  # Any: what YAML may hold
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from places(below, (*at, key))


@st.composite
def spoilt(draw: st.DrawFn) -> Any:  # Any: what YAML may hold
    """The valid document with a few places replaced, removed, added to or moved."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from([place for place in places(document) if place]))
        holder: Any = document
        for step in way:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "remove", "add", "rename"])):
            case "replace":
                holder[last] = draw(anything)
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(keys)] = draw(anything)
            case _ if isinstance(holder, dict):
                holder[draw(keys)] = holder.pop(last)
            case _:
                holder.append(draw(anything))
    return document


def outcome(text: bytes) -> Settings | SettingsInvalid:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiergate.yaml"
        path.write_bytes(text)
        try:
            return load(path, {}, ENV)
        except SettingsInvalid as exc:
            return exc


def secrets_of(document: Any, result: Settings | SettingsInvalid) -> list[str]:  # Any: what YAML may hold
    """Those of SECRETS that stand where a secret belongs; if refused, all from the environment."""

    def texts(value: Any, path: str) -> Iterator[tuple[str, str]]:  # Any: as above
        if isinstance(value, dict):
            for key, below in value.items():
                yield from texts(below, f"{path}.{key}" if path else key)
        elif isinstance(value, list):
            for below in value:
                yield from texts(below, f"{path}[]")
        elif isinstance(value, str):
            yield path, value

    found = [WRITTEN for path, text in texts(document, "") if path in WHERE and WRITTEN in text]
    open_text = "".join(text for path, text in texts(document, "") if path not in WHERE)
    if isinstance(result, Settings) and "${env:KEY}" in open_text:  # it is a host's name, say
        return [MASTER, *found]
    return [FROM_ENV, MASTER, *found]


def tells_no_secret(result: Settings | SettingsInvalid, secrets: Iterable[str] = SECRETS) -> bool:
    told = f"{result!s}{result!r}"
    if isinstance(result, SettingsInvalid):
        told += repr(result.mistakes)
        assert result.mistakes
        assert told.encode()
    return not any(secret in told for secret in secrets)


def test_the_document_to_be_spoilt_is_sound() -> None:
    assert isinstance(outcome(yaml.safe_dump(VALID).encode()), Settings)


@run(deadline=None)
@given(spoilt())
def test_a_spoilt_document_loads_or_tells_its_mistakes(document: Any) -> None:  # Any: what YAML may hold
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True

    result = outcome(yaml.dump(document, Dumper=Plain).encode())
    assert tells_no_secret(result, secrets_of(document, result))


@run(deadline=None)
@given(st.data())
def test_a_text_with_any_bytes_exchanged_loads_or_tells_its_mistakes(data: st.DataObject) -> None:
    text = bytearray(yaml.safe_dump(VALID).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text) - 1))
        hit = text[start : start + 4]
        if not any(hit in secret.encode() for secret in SECRETS):  # a secret cut in two is another text
            text[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))

    assert tells_no_secret(outcome(bytes(text)))


@run(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_load_or_tell_their_mistakes(text: bytes) -> None:
    assert isinstance(outcome(text), SettingsInvalid)


@run(deadline=None)
@given(st.dictionaries(st.sampled_from([path for path, _ in leaves(SCHEMA)]) | keys, anything, max_size=4))
def test_any_overrides_load_or_tell_their_mistakes(overrides: dict[str, object]) -> None:
    document = {**VALID, **overrides}
    try:
        result: Settings | SettingsInvalid = load(None, document, ENV)
    except SettingsInvalid as exc:
        result = exc

    assert tells_no_secret(result, secrets_of(document, result))


@run(deadline=None)
@given(spoilt(), spoilt())
def test_what_is_merged_differs_from_the_new_only_where_a_restart_is_needed(
    one: Any, two: Any
) -> None:  # Any: YAML
    old, new = outcome(yaml.safe_dump(one).encode()), outcome(yaml.safe_dump(two).encode())
    if not isinstance(old, Settings) or not isinstance(new, Settings):
        return
    try:
        now = merged(old, new)
    except SettingsInvalid:
        return

    assert changes(now, new).applied == ()
    assert changes(old, now).needs_restart == ()


@run(deadline=None)
@given(st.integers(0, 1_000))
def test_a_file_cut_short_loads_or_tells_its_mistakes(size: int) -> None:
    assert tells_no_secret(outcome(yaml.safe_dump(VALID).encode()[:size]))
