"""The command `tiergate` as operators run it, against a real gateway."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from tests.support.commands import Commands, Ran, clean_env, open_commands
from tests.support.operators import ADMIN_KEY, EXAMPLES
from tests.support.postgres import ThreeClusters, open_database, open_three_clusters, run_sql, url_of
from tiergate.listening import Addresses, url
from tiergate.service import open_gateway, serve
from tiergate.tenant import Tier

ROOT = Path(__file__).parents[2]
MASTER_KEY = "the master key of the tests, long enough"


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a keyboard, with the gateway's address in the environment."""

    env: dict[str, str]
    folder: Path
    clusters: ThreeClusters
    commands: Commands

    async def run(self, *words: str, give: str = "") -> Ran:
        """Run `tiergate` with *words*, with *give* on standard input."""
        return await self.commands.run(words, self.env, self.folder, give)


def settings_for(registry_url: str) -> Settings:
    return load(
        None,
        {
            "gateway.port": 1,
            "gateway.drain_timeout_s": 5,
            "admin.key": ADMIN_KEY,
            "registry.url": registry_url,
            "secrets.master_key": MASTER_KEY,
            "application.sql": str(EXAMPLES / "application"),
            "logging.level": "error",
        },
    )


@pytest.fixture(scope="module")
async def operator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operator]:
    """An operator of a gateway that knows of three clusters, and of a tenant on each."""
    async with (
        open_three_clusters() as clusters,
        open_database(clusters.standard, prefix="registry") as registry,
        open_commands(ROOT) as commands,
    ):
        settings = settings_for(url_of(registry))
        addresses = Addresses.open("127.0.0.1", 0, "127.0.0.1", 0)
        try:
            async with open_gateway(settings, lambda: settings) as gateway, asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(gateway, addresses), name="serve")
                env = clean_env(TIERGATE_ADMIN_URL=url(addresses.admin), TIERGATE_ADMIN_KEY=ADMIN_KEY)
                someone = Operator(env, tmp_path_factory.mktemp("operator"), clusters, commands)
                await furnish(someone)
                yield someone
                gateway.stop.set()
        finally:
            addresses.close()


async def furnish(operator: Operator) -> None:
    """A cluster and a tenant for each tier, by the command itself."""
    for tier, tenant in ((Tier.STANDARD, "acme"), (Tier.PREMIUM, "globex"), (Tier.GOVERNMENT, "treasury")):
        dsn = url_of(operator.clusters.of(tier).conninfo())
        added = await operator.run("cluster", "add", f"{tier}-1", "--tier", tier, "--dsn-file", "-", give=dsn)
        assert (added.code, added.err) == (0, "")
        made = await operator.run("tenant", "create", tenant, "--tier", tier)
        assert (made.code, made.err) == (0, "")


@pytest.mark.parametrize("tenant", ["acme", "globex", "treasury"])
async def test_a_tenants_shell_writes_and_reads_in_its_place(operator: Operator, tenant: str) -> None:
    script = "INSERT INTO members (email, name) VALUES ('ann@x', 'Ann; of X');\nSELECT name FROM members;"
    insert = await operator.run("psql", tenant, give=script)
    read = await operator.run("psql", tenant, "-c", "SELECT tenant_id, name FROM members", "--json")

    assert (insert.code, insert.err) == (0, "")
    assert "Ann; of X" in insert.out
    assert read.json()["rows"] == [{"tenant_id": tenant, "name": "Ann; of X"}]
    assert read.json()["command"] == "SELECT"


async def test_the_first_statement_that_fails_ends_the_script(operator: Operator) -> None:
    ran = await operator.run("psql", "acme", "-c", "SELECT 1 AS one; SELECT nope; SELECT 2 AS two")

    assert ran.code == 1
    assert "one" in ran.out
    assert "two" not in ran.out
    assert 'column "nope" does not exist (42703)' in ran.err
    assert "LINE 1: SELECT nope\n" in ran.err
    assert "Traceback" not in ran.err


async def test_a_file_runs_and_rows_show_as_blocks(operator: Operator) -> None:
    (operator.folder / "report.sql").write_text("SELECT 1 AS first, NULL AS second, E'\\x1b[2J' AS third")
    ran = await operator.run("psql", "acme", "-x", "-f", "report.sql")

    assert ran.code == 0
    assert ran.out.splitlines() == ["─[ row 1 ]─", "first   1", "second  NULL", "third   \\x1b[2J", "(1 row)"]


@pytest.mark.parametrize("how", ["-c", "-f"])
async def test_backslash_commands_work_outside_of_the_shell_too(operator: Operator, how: str) -> None:
    for line, sign in (
        ("\\d", "members"),
        ("\\d members", "members_email_check"),
        ("\\x\nSELECT 7 AS n;", "row 1"),
    ):
        (operator.folder / "look.sql").write_text(f"-- a look\n{line}\n")
        ran = await operator.run("psql", "acme", how, line if how == "-c" else "look.sql")

        assert (ran.code, ran.err) == (0, "")
        assert sign in ran.out
    missing = await operator.run("psql", "acme", "-c", "\\d nothing")
    machines = await operator.run("psql", "acme", "-c", "\\d", "--json")

    assert (missing.code, "no table nothing that acme can see" in missing.err) == (2, True)
    assert "members" in {row["table"] for row in machines.json()["rows"]}


async def test_a_clusters_address_is_changed_by_command_and_its_tenants_are_served(
    operator: Operator,
) -> None:
    dsn = url_of(operator.clusters.premium.conninfo())
    moved = await operator.run(
        "cluster", "set-address", "premium-1", "--dsn-file", "-", give=dsn.replace("127.0.0.1", "localhost")
    )
    shown = await operator.run("cluster", "show", "premium-1", "--json")
    served = await operator.run("psql", "globex", "-c", "SELECT 1 AS one")
    back = await operator.run("cluster", "set-address", "premium-1", "--dsn", dsn, "--json")

    assert (moved.code, moved.err) == (0, "")
    assert "Cluster premium-1 answers at localhost:" in moved.out
    assert shown.json()["address"].startswith("localhost:")
    assert (served.code, served.err) == (0, "")
    assert back.json()["address"].startswith("127.0.0.1:")


async def test_context_keys_are_replaced_in_two_steps(operator: Operator) -> None:
    rotated = await operator.run("keys", "rotate-context")
    again = await operator.run("keys", "rotate-context", "--cluster", "premium-1")
    early = await operator.run("keys", "rotate-context", "--retire")
    half_said = await operator.run("keys", "rotate-context", "--at-once")
    listed = await operator.run("keys", "list", "--json")
    retired = await operator.run("keys", "rotate-context", "--retire", "--at-once", "--json")
    nothing = await operator.run("keys", "rotate-context", "--retire")
    served = await operator.run("psql", "treasury", "-c", "SELECT 1 AS one")

    assert (rotated.code, rotated.err) == (0, "")
    assert rotated.out.count("key 2 signs, key 1 is good meanwhile") == 3
    assert "The old keys are good until they are retired; from 7" in rotated.out
    assert (again.code, again.out.count("key 2 signs already, key 1 waits to be retired")) == (0, 1)
    assert (early.code, early.out.count("key 1 is kept for another 7")) == (1, 3)
    assert "a gateway may use the old key" in early.err
    assert (half_said.code, half_said.out) == (2, "")
    assert "--at-once goes with --retire" in half_said.err
    assert {(each["kid"], each["retiring"]) for each in listed.json()["context_keys"]} == {(2, 1)}
    assert {(each["kid"], each["retiring"]) for each in retired.json()["context_keys"]} == {(2, None)}
    assert (nothing.code, nothing.out.count("key 2 signs, and no other is known")) == (0, 3)
    assert served.code == 0


async def test_a_way_through_pgbouncer_must_be_said_and_must_work(operator: Operator) -> None:
    unsaid = await operator.run("cluster", "set-pgbouncer", "premium-1")
    dead = await operator.run("cluster", "set-pgbouncer", "premium-1", "--address", "host=127.0.0.1 port=9")
    off = await operator.run("cluster", "set-pgbouncer", "premium-1", "--off")
    shown = await operator.run("cluster", "show", "premium-1", "--json")

    assert (unsaid.code, "Give --address ADDRESS, or --off" in unsaid.err) == (2, True)
    assert (dead.code, "cannot be reached that way" in dead.err) == (1, True)
    assert (off.code, off.out) == (0, "Requests go to cluster premium-1 itself.\n")
    assert (shown.json()["pgbouncer"], shown.json()["pgbouncer_prepares"]) == (None, False)


async def test_creating_a_tenant_that_is_served_says_so(operator: Operator) -> None:
    again = await operator.run("tenant", "create", "acme", "--tier", "standard")

    assert (again.code, again.err) == (0, "")
    assert "Tenant acme is served already on the standard tier" in again.out


async def test_tenants_and_clusters_are_listed_for_people_and_machines(operator: Operator) -> None:
    people = await operator.run("tenant", "list")
    machines = await operator.run("tenant", "list", "--json", "--tier", "premium")
    page = await operator.run("tenant", "list", "--limit", "1")
    clusters = await operator.run("cluster", "list", "--json")
    shown = await operator.run("tenant", "show", "treasury")

    rows = {tuple(line.split()[:2]) for line in people.out.splitlines()}
    assert rows >= {("acme", "standard"), ("globex", "premium"), ("treasury", "government")}
    assert [tenant["name"] for tenant in machines.json()["tenants"]] == ["globex"]
    assert "There are more: --after acme" in page.out
    assert len(clusters.json()["clusters"]) == 3
    assert "government-1" in shown.out


async def test_no_command_shows_a_password(operator: Operator) -> None:
    password = url_of(operator.clusters.standard.conninfo()).split("@")[0].rsplit(":", 1)[1]
    ran = [
        await operator.run("cluster", *words)
        for words in (["list"], ["list", "--json"], ["show", "standard-1"], ["show", "standard-1", "--json"])
    ]

    assert all(each.code == 0 and "standard-1" in each.out for each in ran)
    assert not any(password in each.out + each.err for each in ran)


async def test_suspending_refuses_the_tenant_until_it_is_resumed(operator: Operator) -> None:
    await operator.run("tenant", "create", "pausing", "--tier", "standard")
    question = ("psql", "pausing", "-c", "SELECT 1 AS one")

    suspended = await operator.run("tenant", "suspend", "pausing")
    refused = await operator.run(*question)
    resumed = await operator.run("tenant", "resume", "pausing")
    served = await operator.run(*question)

    assert (suspended.code, refused.code, resumed.code, served.code) == (0, 1, 0, 0)
    assert "suspended" in refused.err


async def test_a_suspended_tenant_and_a_cluster_are_deleted_when_their_names_are_repeated(
    operator: Operator,
) -> None:
    await operator.run("tenant", "create", "leaving", "--tier", "standard")
    deletion = ("tenant", "delete", "leaving", "--confirm", "leaving")

    served = await operator.run(*deletion)
    await operator.run("tenant", "suspend", "leaving")
    unsaid = await operator.run("tenant", "delete", "leaving")
    other = await operator.run("tenant", "delete", "leaving", "--confirm", "acme")
    deleted = await operator.run(*deletion)
    again = await operator.run(*deletion)
    in_use = await operator.run("cluster", "remove", "premium-1", "--confirm", "premium-1")

    assert (served.code, unsaid.code, other.code, deleted.code, again.code) == (1, 2, 2, 0, 4)
    assert "tiergate tenant suspend" in served.err
    assert "--confirm leaving" in " ".join(unsaid.err.split())
    assert "--confirm says 'acme', not 'leaving'" in other.err
    assert "Tenant leaving is deleted" in deleted.out
    assert (in_use.code, "has tenants: 1" in in_use.err) == (1, True)


async def test_a_tenants_own_limits_are_set_shown_and_given_back(operator: Operator) -> None:
    words = "--requests-per-s 0.5 --burst 100 --max-inflight 20 --max-waiting 200 --weight 4 --warm"
    done = await operator.run("tenant", "set", "acme", *words.split(), "--compliance", "hipaa")
    shown = await operator.run("tenant", "show", "acme", "--json")
    back = await operator.run("tenant", "set", "acme", "--requests-per-s", "tier", "--not-warm")
    await operator.run("tenant", "set", "acme", "--compliance", "none")
    others = "--burst tier --max-inflight tier --max-waiting tier --weight tier"
    given = await operator.run("tenant", "set", "acme", *others.split(), "--json")

    facts = {line.rpartition("  ")[0].strip(): line.rpartition("  ")[2] for line in back.out.splitlines()}
    assert (done.code, done.err, back.code, given.code) == (0, "", 0, 0)
    assert shown.json()["limits"] == {
        "requests_per_s": 0.5, "burst": 100, "max_tenant_inflight": 20, "max_tenant_waiting": 200, "weight": 4
    }  # fmt: skip
    assert (shown.json()["warm"], shown.json()["compliance"]) == (True, "hipaa")
    assert (facts["requests per s"], facts["burst"], facts["warm"]) == ("the tier's", "100", "no")
    assert given.json()["compliance"] is None
    assert set(given.json()["limits"].values()) == {None}


async def test_a_key_is_shown_once_and_can_be_replaced_and_revoked(operator: Operator) -> None:
    made = await operator.run("key", "create", "acme", "--scope", "read", "--expires", "90d", "--note", "a b")
    key = made.out.splitlines()[0]
    new = await operator.run(
        "key", "create", "acme", "--replaces", key.split("_")[1], "--overlap", "1h", "--json"
    )
    revoked = await operator.run("key", "revoke", new.json()["key"])
    listed = await operator.run("key", "list", "acme", "--json")

    keys = {each["id"]: each for each in listed.json()["keys"]}
    assert key.startswith("tg_")
    assert (revoked.code, keys[new.json()["id"]]["state"]) == (0, "revoked")
    assert (keys[key.split("_")[1]]["scopes"], keys[key.split("_")[1]]["note"]) == (["read"], "a b")
    assert key not in listed.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["tenant", "show", "nobody"], 4, "there is no tenant 'nobody'"),
        (["cluster", "show", "nowhere"], 4, "there is no cluster 'nowhere'"),
        (["key", "revoke", "aaaaaaaaaaaa"], 4, "there is no key"),
        (["psql", "nobody", "-c", "SELECT 1"], 4, "there is no tenant 'nobody'"),
        (
            ["tenant", "create", "acme", "--tier", "premium"],
            1,
            "already a tenant 'acme': its tier is standard, not premium",
        ),
        (["tenant", "create", "No Name", "--tier", "premium"], 1, "name: must be 1 to 63 characters"),
        (["tenant", "create", "x"], 2, "--tier"),
        (["tenant", "create", "x", "--tier", "gold"], 2, "gold"),
        (["tenant", "list", "--limit", "0"], 2, "--limit"),
        (["tenant", "set", "nobody", "--burst", "3"], 4, "there is no tenant 'nobody'"),
        (["tenant", "set", "acme"], 2, "it is not said what to change"),
        (["tenant", "set", "acme", "--burst", "many"], 2, "burst 'many' is no number"),
        (["tenant", "set", "acme", "--requests-per-s", "nan"], 2, "requests_per_s 'nan' is no number"),
        (["tenant", "set", "acme", "--weight", "1001"], 1, "weight: should be less than or equal to 1000"),
        (["nonsense"], 2, "nonsense"),
        (["key", "create", "acme", "--expires", "soon"], 2, "--expires 'soon' is no moment"),
        (["cluster", "add", "x", "--tier", "standard"], 2, "DSN is missing"),
        (["cluster", "add", "x", "--tier", "standard", "--dsn-file", "missing"], 2, "cannot be read"),
        (["cluster", "add", "x", "--tier", "standard", "--dsn", "host=h"], 1, "must give user and dbname"),
        (["psql", "acme", "-f", "missing.sql"], 2, "missing.sql cannot be read"),
        (["tenant", "list", "--admin", "127.0.0.1:8081"], 2, "no URL"),
        (["tenant", "list", "--key", "wrong"], 1, "admin key is missing or not valid"),
        (["tenant", "list", "--admin", "http://127.0.0.1:1"], 3, "does not answer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_what_goes_wrong_is_told_with_its_exit_code(
    operator: Operator, words: list[str], code: int, says: str
) -> None:
    ran = await operator.run(*words)

    assert (ran.code, ran.out) == (code, "")
    assert says in " ".join(ran.err.split())
    assert "Traceback" not in ran.err


async def test_errors_are_json_for_machines(operator: Operator) -> None:
    ran = await operator.run("tenant", "show", "nobody", "--json")

    assert ran.code == 4
    said = json.loads(ran.err)["error"]
    assert (said["code"], said["retryable"]) == ("unknown-tenant", False)
    assert "tenant list" in said["advice"]


async def test_the_demos_file_tells_the_address_and_its_key_goes_nowhere_else(
    operator: Operator, tmp_path: Path
) -> None:
    facts = {"admin": operator.env["TIERGATE_ADMIN_URL"], "admin_key": ADMIN_KEY}
    (tmp_path / ".tiergate").mkdir()
    (tmp_path / ".tiergate" / "demo.json").write_text(json.dumps(facts))
    stranger = Operator(clean_env(), tmp_path, operator.clusters, operator.commands)

    listed = await stranger.run("tenant", "list")
    elsewhere = await stranger.run("tenant", "list", "--admin", "http://127.0.0.1:1")
    (tmp_path / ".tiergate" / "demo.json").write_text("{")
    damaged = await stranger.run("tenant", "list")

    assert (listed.code, "acme" in listed.out) == (0, True)
    assert (elsewhere.code, "the admin key is not known" in elsewhere.err) == (2, True)
    assert (damaged.code, "demo.json cannot be used" in damaged.err) == (2, True)


async def test_something_else_at_the_address_is_told_as_such(operator: Operator) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ran = await operator.run("tenant", "list", "--admin", f"http://127.0.0.1:{port}")

    assert ran.code == 3
    assert "not tiergate's admin API" in ran.err


async def test_the_configuration_is_reread_by_command(operator: Operator) -> None:
    ran = await operator.run("reload")

    assert (ran.code, ran.out) == (0, "Nothing has changed.\n")


async def test_check_lists_every_mistake_with_what_to_write(operator: Operator) -> None:
    (operator.folder / "wrong.yaml").write_text(
        "gateway:\n  port: eighty\n  colour: red\nadmin:\n  key: short\n"
    )
    people = await operator.run("check", "--config", "wrong.yaml", "--offline")
    machines = await operator.run("check", "--config", "wrong.yaml", "--offline", "--json")

    settings = {mistake["setting"]: mistake for mistake in machines.json()["mistakes"]}
    assert (people.code, machines.code) == (1, 1)
    assert {"gateway.port", "gateway.colour", "admin.key", "registry.url"} <= set(settings)
    assert settings["gateway.port"]["line"] == 2
    assert all(mistake["instead"] for mistake in settings.values())
    assert "gateway.colour" in people.out


async def test_check_says_what_does_not_answer(operator: Operator) -> None:
    registry_url = "postgresql://postgres:s3cret-word@127.0.0.1:1/registry"
    (operator.folder / "down.yaml").write_text(
        f"admin:\n  key: {ADMIN_KEY}\nregistry:\n  url: {registry_url}\nsecrets:\n"
        f"  master_key: {MASTER_KEY}\napplication:\n  sql: {EXAMPLES / 'application'}\n"
    )
    down = await operator.run("check", "--config", "down.yaml")
    offline = await operator.run("check", "--config", "down.yaml", "--offline")

    assert (down.code, offline.code) == (3, 0)
    assert "not reachable: registry" in down.err
    assert "127.0.0.1:1" in down.out
    assert "s3cret-word" not in down.out + down.err


async def test_the_audit_is_read_filtered_and_verified(operator: Operator) -> None:
    whole = await operator.run("audit", "--limit", "1000", "--json")
    entries = [json.loads(line) for line in whole.out.splitlines()]
    table = await operator.run("audit", "--tenant", "acme", "--act", "tenant", "--since", "1h")
    none = await operator.run("audit", "--actor", "nobody")
    good = await operator.run("audit", "--verify", "--expect", entries[-1]["head"])
    bad = await operator.run("audit", "--verify", "--expect", f"9999:{'00' * 32}")
    told = await operator.run("audit", "--verify", "--json", "--expect", f"9999:{'00' * 32}")
    mistyped = await operator.run("audit", "--verify", "--expect", "9999")

    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert {"tenant.create", "cluster.add"} <= {entry["act"] for entry in entries}
    assert "tenant.create" in table.out
    assert "globex" not in table.out
    assert "tier=standard" in table.out
    assert "no such entries" in none.out
    assert (good.code, entries[-1]["head"] in good.out) == (0, True)
    assert (bad.code, "entry 9999 is remembered" in bad.err) == (1, True)
    assert (told.code, told.json()["broken"]["damage"]) == (1, "cut")
    assert (mistyped.code, "NUMBER:CODE" in mistyped.err) == (1, True)


async def test_the_audit_is_followed(operator: Operator) -> None:
    words = (sys.executable, "-m", "tiergate.cli", "audit", "--follow", "--json", "--limit", "1")
    following = await asyncio.create_subprocess_exec(
        *words, "--act", "gateway", env=operator.env, cwd=operator.folder, stdout=asyncio.subprocess.PIPE
    )
    assert following.stdout is not None
    for _ in range(2):  # the first may come before the command has begun, and is shown all the same
        await operator.run("reload")
        entry = json.loads(await asyncio.wait_for(following.stdout.readline(), 20))
        assert entry["act"] == "gateway.reload"
    following.send_signal(signal.SIGINT)

    assert await asyncio.wait_for(following.wait(), 20) == 0


async def test_the_version_is_told(operator: Operator) -> None:
    assert (await operator.run("version", "--json")).json()["tiergate"]


async def test_help_answers_without_loading_what_it_does_not_need(operator: Operator) -> None:
    """Each of these costs 50 ms or more to import; --help must answer in less than 0.4 s."""
    code = (
        "import sys\nfrom tiergate.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'httpx', 'pydantic', 'psycopg', 'sqlalchemy', 'asyncpg', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=operator.env
    )
    out, _ = await process.communicate()

    assert out.decode().splitlines()[-1] == "[]"


async def test_verify_ends_with_0_when_all_is_well_and_names_what_is_not(operator: Operator) -> None:
    well = await operator.run("verify", "--json")
    place = (await operator.run("tenant", "show", "globex", "--json")).json()["place"]
    premium = operator.clusters.premium.conninfo()
    await run_sql(premium, f"DROP POLICY tiergate_tenant ON {place}.tasks")
    ill = await operator.run("verify", "--tenant", "globex")
    told = (await operator.run("verify", "--place", place, "--json")).json()
    await run_sql(premium, f"SELECT tiergate.protect('{place}.tasks')")

    assert (well.code, well.json()["version"], well.json()["outcome"]) == (0, 1, "ok")
    assert well.json()["checks"] == len(well.json()["results"])
    assert ill.code == 1
    assert "policy-missing  tasks: policy tiergate_tenant is missing" in ill.out
    assert "next:" in ill.out
    assert (told["outcome"], told["failed"]) == ("failed", 1)


async def test_verify_ends_with_2_when_it_cannot_run(operator: Operator) -> None:
    nobody = await operator.run("verify", "--tenant", "nobody")
    silence = await operator.run("verify", "--admin", "http://127.0.0.1:1")

    assert (nobody.code, silence.code) == (2, 2)
    assert "there is no tenant 'nobody'" in nobody.err
