// @neondatabase/serverless over HTTP, as published.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { neon, NeonDbError } from "@neondatabase/serverless";

import { connectionString, connectionStringWith, gateway, tenant, tier, unique } from "./support.mjs";

const sql = neon(connectionString);

/** Runs *body* with one member that is there for it alone, and takes the member away again. */
async function withMember(body) {
  const email = `${unique("neon")}@example.com`;
  const [member] = await sql`INSERT INTO members (email, name) VALUES (${email}, 'Ada') RETURNING id, email, name`;
  try {
    await body(member);
  } finally {
    await sql`DELETE FROM members WHERE id = ${member.id}`;
  }
}

/** The one value of a statement of one row and one column. */
async function value(text, params = []) {
  const [[only]] = await sql.query(text, params, { arrayMode: true });
  return only;
}

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof NeonDbError, `expected NeonDbError, got ${error}`);
    return error;
  }
  return assert.fail("the statement was accepted");
}

describe(`@neondatabase/serverless on ${tier}`, () => {
  describe("statements", () => {
    test("a tagged template binds its values as parameters", async () => {
      const quote = `Robert'); DROP TABLE members; --`;

      assert.deepEqual(await sql`SELECT ${quote}::text AS said, ${7}::int AS n`, [{ said: quote, n: 7 }]);
    });

    test("templates compose", async () => {
      const where = sql`n > ${1}`;

      const rows = await sql`SELECT n FROM generate_series(1, 3) AS n WHERE ${where} ORDER BY n`;

      assert.deepEqual(rows, [{ n: 2 }, { n: 3 }]);
    });

    test("query takes text and parameters", async () => {
      assert.deepEqual(await sql.query("SELECT $1::text || $2 AS joined", ["a", "b"]), [{ joined: "ab" }]);
    });

    test("query without parameters is answered", async () => {
      assert.deepEqual(await sql.query("VALUES (1), (2)"), [{ column1: 1 }, { column1: 2 }]);
    });

    test("array mode gives rows as arrays, duplicate names and all", async () => {
      assert.deepEqual(await sql.query("SELECT 1 AS n, 2 AS n", [], { arrayMode: true }), [[1, 2]]);
    });

    test("array mode can be the client's default", async () => {
      const arrays = neon(connectionString, { arrayMode: true });

      assert.deepEqual(await arrays`SELECT 1, 'x'`, [[1, "x"]]);
    });

    test("full results tell fields, command and row count", async () => {
      const result = await sql.query("SELECT id, email FROM members WHERE false", [], { fullResults: true });

      assert.equal(result.command, "SELECT");
      assert.equal(result.rowCount, 0);
      assert.deepEqual(result.rows, []);
      assert.deepEqual(result.fields.map(({ name, dataTypeID }) => [name, dataTypeID]), [["id", 2950], ["email", 25]]);
      assert.ok(result.fields.every(({ tableID, columnID }) => tableID > 0 && columnID > 0));
      assert.deepEqual(result.fields.map(({ format }) => format), ["text", "text"]);
      assert.deepEqual(result.fields.map(({ dataTypeSize, dataTypeModifier }) => [dataTypeSize, dataTypeModifier]), [
        [16, -1],
        [-1, -1],
      ]);
    });

    test("a statement that writes tells how many rows it touched", async () => {
      await withMember(async ({ id }) => {
        const update = await sql.query("UPDATE members SET name = 'Grace' WHERE id = $1", [id], { fullResults: true });
        const nothing = await sql.query("DELETE FROM members WHERE id = $1", [randomUUID()], { fullResults: true });

        assert.deepEqual([update.command, update.rowCount, update.rows], ["UPDATE", 1, []]);
        assert.deepEqual([nothing.command, nothing.rowCount], ["DELETE", 0]);
      });
    });

    test("what is written is there for the next request", async () => {
      await withMember(async ({ id, email }) => {
        await sql`UPDATE members SET name = ${"Grace"} WHERE id = ${id}`;

        assert.deepEqual(await sql`SELECT email, name FROM members WHERE id = ${id}`, [{ email, name: "Grace" }]);
      });
    });

    test("a common table expression may write", async () => {
      await withMember(async ({ id }) => {
        const rows = await sql`
          WITH renamed AS (UPDATE members SET name = 'Grace' WHERE id = ${id} RETURNING name)
          SELECT name FROM renamed`;

        assert.deepEqual(rows, [{ name: "Grace" }]);
      });
    });

    test("MERGE is a statement like another", async () => {
      await withMember(async ({ id }) => {
        const result = await sql.query(
          `MERGE INTO members AS m USING (VALUES ($1::uuid)) AS given (id) ON m.id = given.id
           WHEN MATCHED THEN UPDATE SET name = 'Grace'`,
          [id],
          { fullResults: true },
        );

        assert.deepEqual([result.command, result.rowCount], ["MERGE", 1]);
      });
    });

    test("rows are the tenant's own, and carry its name", async () => {
      await withMember(async () => {
        assert.deepEqual(await sql`SELECT DISTINCT tenant_id FROM members`, [{ tenant_id: tenant }]);
      });
    });

    test("an answer of two megabytes arrives whole", async () => {
      const rows = await sql`SELECT n, repeat(chr(97 + n % 26), 1000) AS filler FROM generate_series(1, 2000) AS n`;

      assert.equal(rows.length, 2000);
      assert.equal(rows.reduce((sum, { filler }) => sum + filler.length, 0), 2_000_000);
      assert.deepEqual(rows.at(-1), { n: 2000, filler: "y".repeat(1000) });
    });

    test("fifty requests at once each get their own answer", async () => {
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) => sql`SELECT ${n}::int AS n, ${`row ${n}`}::text AS said`),
      );

      assert.deepEqual(answers, Array.from({ length: 50 }, (_, n) => [{ n, said: `row ${n}` }]));
    });
  });

  describe("types, there and back", () => {
    const there = [
      ["bigint", "int8", 9223372036854775807n, "9223372036854775807"],
      ["negative bigint", "int8", "-9223372036854775808", "-9223372036854775808"],
      ["smallint", "int2", -32768, -32768],
      ["numeric keeps every digit", "numeric", "12345678901234567890.123456789", "12345678901234567890.123456789"],
      ["numeric NaN", "numeric", "NaN", "NaN"],
      ["double", "float8", 0.1, 0.1],
      ["double NaN", "float8", NaN, NaN],
      ["double infinity", "float8", "-Infinity", -Infinity],
      ["real", "float4", 1.5, 1.5],
      ["true", "bool", true, true],
      ["false", "bool", false, false],
      ["null", "text", null, null],
      ["empty string", "text", "", ""],
      ["text in every script", "text", "naïve 東京 🐘 \\ \" '", "naïve 東京 🐘 \\ \" '"],
      ["json object", "json", { a: [1, null, { b: "ü" }] }, { a: [1, null, { b: "ü" }] }],
      ["jsonb object", "jsonb", { z: 1.5, a: true }, { z: 1.5, a: true }],
      ["jsonb null inside json is not SQL null", "jsonb", "null", null],
      ["jsonb string", "jsonb", '"text"', "text"],
      ["int array", "int4[]", [1, 2, 3], [1, 2, 3]],
      ["empty array", "int4[]", [], []],
      ["array with null", "int4[]", [1, null, 3], [1, null, 3]],
      ["array of arrays", "int4[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]],
      ["text array that needs quoting", "text[]", ["a,b", 'c"d', "{e}", "", "NULL", "\\"], ["a,b", 'c"d', "{e}", "", "NULL", "\\"]],
      ["bool array", "bool[]", [true, false], [true, false]],
      ["uuid", "uuid", "0192f0c1-2b3d-7e4f-8a9b-0c1d2e3f4a5b", "0192f0c1-2b3d-7e4f-8a9b-0c1d2e3f4a5b"],
      ["interval as Postgres writes it", "text", "1 day 02:03:04", "1 day 02:03:04"],
      ["int4range", "int4range", "[1,5)", "[1,5)"],
    ];
    for (const [name, type, given, expected] of there) {
      test(name, async () => {
        assert.deepEqual(await value(`SELECT $1::${type}`, [given]), expected);
      });
    }

    test("timestamptz keeps the instant", async () => {
      const instant = new Date("2024-02-29T23:59:59.123Z");

      assert.deepEqual(await value("SELECT $1::timestamptz", [instant]), instant);
    });

    test("timestamptz with an offset is the same instant", async () => {
      assert.deepEqual(await value("SELECT '2024-03-01 02:59:59.5+03'::timestamptz"), new Date("2024-02-29T23:59:59.5Z"));
    });

    test("a date is that day", async () => {
      const day = await value("SELECT $1::date", ["2024-02-29"]);

      assert.deepEqual([day.getFullYear(), day.getMonth() + 1, day.getDate()], [2024, 2, 29]);
    });

    test("bytea keeps every byte", async () => {
      const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

      const [{ back }] = await sql`SELECT ${every} AS back`;

      assert.deepEqual(Buffer.from(back), every);
    });

    test("a client's own type parsers see Postgres's text", async () => {
      const types = { getTypeParser: () => (text) => `<${text}>` };

      const rows = await sql.query("SELECT 1::int4 AS a, true AS b, 1.50::numeric AS c, ARRAY[1,2] AS d", [], { types });

      assert.deepEqual(rows, [{ a: "<1>", b: "<t>", c: "<1.50>", d: "<{1,2}>" }]);
    });

    test("a row of the application keeps json, arrays, numerics and bytes", async () => {
      const name = unique("types");
      const [{ id }] = await sql`
        INSERT INTO projects (name, budget, tags) VALUES (${name}, ${"1234.50"}, ${["a", "b,c"]}) RETURNING id`;
      try {
        const rows = await sql`SELECT budget, tags FROM projects WHERE id = ${id}`;

        assert.deepEqual(rows, [{ budget: "1234.50", tags: ["a", "b,c"] }]);
      } finally {
        await sql`DELETE FROM projects WHERE id = ${id}`;
      }
    });
  });

  describe("transactions", () => {
    test("an array of statements is answered in order", async () => {
      assert.deepEqual(await sql.transaction([sql`SELECT 1 AS a`, sql`SELECT 2 AS b`]), [[{ a: 1 }], [{ b: 2 }]]);
    });

    test("a function may build the statements", async () => {
      const results = await sql.transaction((tx) => [tx`SELECT ${1}::int AS a`, tx.query("SELECT $1::int AS b", [2])]);

      assert.deepEqual(results, [[{ a: 1 }], [{ b: 2 }]]);
    });

    test("no statements at all are an empty answer", async () => {
      assert.deepEqual(await sql.transaction([]), []);
    });

    test("a later statement sees what an earlier one wrote", async () => {
      const email = `${unique("tx")}@example.com`;

      const [, seen] = await sql.transaction([
        sql`INSERT INTO members (email, name) VALUES (${email}, 'Ada')`,
        sql`SELECT name FROM members WHERE email = ${email}`,
        sql`DELETE FROM members WHERE email = ${email}`,
      ]);

      assert.deepEqual(seen, [{ name: "Ada" }]);
    });

    test("all statements run in one transaction", async () => {
      const [[one], [two]] = await sql.transaction([
        sql`SELECT now() AS at, pg_backend_pid() AS pid`,
        sql`SELECT now() AS at, pg_backend_pid() AS pid`,
      ]);

      assert.deepEqual(one, two);
    });

    test("when the second statement fails the first leaves nothing behind", async () => {
      const email = `${unique("rollback")}@example.com`;

      const error = await rejection(
        sql.transaction([sql`INSERT INTO members (email, name) VALUES (${email}, 'Ada')`, sql`SELECT 1 / 0`]),
      );

      assert.equal(error.code, "22012");
      assert.deepEqual(await sql`SELECT 1 FROM members WHERE email = ${email}`, []);
    });

    const levels = [
      ["ReadUncommitted", "read uncommitted"],
      ["ReadCommitted", "read committed"],
      ["RepeatableRead", "repeatable read"],
      ["Serializable", "serializable"],
    ];
    for (const [isolationLevel, told] of levels) {
      test(`isolation level ${isolationLevel} is what Postgres runs`, async () => {
        const [[row]] = await sql.transaction([sql`SELECT current_setting('transaction_isolation') AS level`], {
          isolationLevel,
        });

        assert.deepEqual(row, { level: told });
      });
    }

    test("without options a batch is read committed, and may write", async () => {
      const [[row]] = await sql.transaction([
        sql`SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS ro`,
      ]);

      assert.deepEqual(row, { level: "read committed", ro: "off" });
    });

    test("a read-only batch may not write", async () => {
      const error = await rejection(
        sql.transaction([sql`UPDATE members SET name = name WHERE id = ${randomUUID()}`], { readOnly: true }),
      );

      assert.equal(error.code, "25006");
    });

    test("a serializable, read-only, deferrable batch is all three", async () => {
      const [[row]] = await sql.transaction(
        [
          sql`SELECT current_setting('transaction_isolation') AS level,
                     current_setting('transaction_read_only') AS ro,
                     current_setting('transaction_deferrable') AS deferrable`,
        ],
        { isolationLevel: "Serializable", readOnly: true, deferrable: true },
      );

      assert.deepEqual(row, { level: "serializable", ro: "on", deferrable: "on" });
    });

    test("array mode and full results hold for a batch", async () => {
      const [result] = await sql.transaction([sql`SELECT 1 AS a`], { arrayMode: true, fullResults: true });

      assert.deepEqual([result.command, result.rowCount, result.rows, result.rowAsArray], ["SELECT", 1, [[1]], true]);
    });
  });

  describe("errors", () => {
    test("a syntax error tells its code and where it is", async () => {
      const error = await rejection(sql`SELECT 1 FROM WHERE`);

      assert.equal(error.code, "42601");
      assert.equal(error.severity, "ERROR");
      assert.equal(error.position, "15");
      assert.match(error.message, /syntax error at or near "WHERE"/);
    });

    test("an unknown table is 42P01", async () => {
      const error = await rejection(sql`SELECT * FROM nowhere_to_be_found`);

      assert.equal(error.code, "42P01");
      assert.equal(error.position, "15");
    });

    test("a value that does not fit its type is told", async () => {
      const error = await rejection(sql`SELECT ${"not a uuid"}::uuid`);

      assert.equal(error.code, "22P02");
      assert.match(error.message, /invalid input syntax for type uuid/);
    });

    test("detail reaches the caller", async () => {
      const error = await rejection(sql`SELECT ${"{"}::json`);

      assert.equal(error.code, "22P02");
      assert.match(error.detail, /input string ended/);
    });

    test("a unique violation names its table and constraint", async () => {
      await withMember(async ({ email }) => {
        const error = await rejection(sql`INSERT INTO members (email, name) VALUES (${email}, 'Eve')`);

        assert.equal(error.code, "23505");
        assert.equal(error.table, "members");
        assert.match(error.constraint, /^members_.*email/);
        assert.match(error.message, /duplicate key value violates unique constraint/);
      });
    });

    test("a missing value names its column", async () => {
      const error = await rejection(sql`INSERT INTO members (email, name) VALUES (${unique("null")}, NULL)`);

      assert.deepEqual([error.code, error.table, error.column], ["23502", "members", "name"]);
    });

    test("a foreign key violation names its constraint", async () => {
      const error = await rejection(sql`INSERT INTO tasks (project_id, title) VALUES (${randomUUID()}, 'orphan')`);

      assert.deepEqual([error.code, error.table], ["23503", "tasks"]);
      assert.match(error.constraint, /project/);
    });

    test("a statement that is not a query is refused, with its word", async () => {
      for (const [text, word] of [
        ["CREATE TABLE mine (id int)", /CREATE/],
        ["DROP TABLE members", /DROP/],
        ["SET search_path = public", /SET/],
        ["BEGIN", /BEGIN/],
      ]) {
        const error = await rejection(sql.query(text));

        assert.match(error.code, /^[0-9A-Z]{5}$/);
        assert.match(error.message, word);
      }
    });

    test("two statements in one text are refused", async () => {
      const error = await rejection(sql.query("SELECT 1; SELECT 2"));

      assert.match(error.code, /^[0-9A-Z]{5}$/);
    });

    test("after an error the next statement is answered", async () => {
      await rejection(sql`SELECT 1 / 0`);

      assert.deepEqual(await sql`SELECT 1 AS n`, [{ n: 1 }]);
    });

    test("a wrong key is 28P01", async () => {
      const stranger = neon(connectionStringWith({ password: "tg_wrong_key" }));

      assert.equal((await rejection(stranger`SELECT 1`)).code, "28P01");
    });

    test("an unknown tenant looks like a wrong key", async () => {
      const nobody = "nobody-of-that-name";

      const unknown = await rejection(neon(connectionStringWith({ user: nobody, password: "tg_wrong_key" }))`SELECT 1`);
      const wrong = await rejection(neon(connectionStringWith({ password: "tg_wrong_key" }))`SELECT 1`);

      assert.equal(unknown.code, wrong.code);
      assert.equal(unknown.message.replaceAll(nobody, "X"), wrong.message.replaceAll(tenant, "X"));
    });

    test("a key is of no use to another tenant", async () => {
      const other = neon(connectionStringWith({ user: tenant === "acme" ? "globex" : "acme" }));

      assert.equal((await rejection(other`SELECT 1`)).code, "28P01");
    });
  });

  test("a request that is given up does not harm the next", async () => {
    const signal = AbortSignal.timeout(300); // long enough for the statement to be running
    const slow = sql.query("SELECT pg_sleep(20)", [], { fetchOptions: { signal } });

    await assert.rejects(slow);
    assert.deepEqual(await sql`SELECT 1 AS n`, [{ n: 1 }]);
  });

  test("the key also works as a bearer token, by fetch alone", async () => {
    const key = decodeURIComponent(new URL(connectionString).password);

    const response = await fetch(`${gateway}/sql`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ query: "SELECT $1::int AS n, '7'::int8 AS big, ARRAY[1,2] AS list", params: [1] }),
    });

    assert.equal(response.status, 200);
    assert.deepEqual((await response.json()).rows, [{ n: 1, big: "7", list: [1, 2] }]);
  });
});
