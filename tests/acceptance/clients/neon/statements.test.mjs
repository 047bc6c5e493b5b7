// @neondatabase/serverless over HTTP, as published: statements and the shapes of their answers.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { neon } from "@neondatabase/serverless";

import { connectionString, gateway, tenant, tier } from "../support.mjs";
import { sql, withMember } from "./shared.mjs";

describe(`@neondatabase/serverless on ${tier}: statements`, () => {
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
    assert.deepEqual(
      result.fields.map(({ name, dataTypeID }) => [name, dataTypeID]),
      [
        ["id", 2950],
        ["email", 25],
      ],
    );
    assert.ok(result.fields.every(({ tableID, columnID }) => tableID > 0 && columnID > 0));
    assert.deepEqual(
      result.fields.map(({ format }) => format),
      ["text", "text"],
    );
    assert.deepEqual(
      result.fields.map(({ dataTypeSize, dataTypeModifier }) => [dataTypeSize, dataTypeModifier]),
      [
        [16, -1],
        [-1, -1],
      ],
    );
  });

  test("a statement that writes tells how many rows it touched", async () => {
    await withMember(async ({ id }) => {
      const update = await sql.query("UPDATE members SET name = 'Grace' WHERE id = $1", [id], {
        fullResults: true,
      });
      const nothing = await sql.query("DELETE FROM members WHERE id = $1", [randomUUID()], {
        fullResults: true,
      });

      assert.deepEqual([update.command, update.rowCount, update.rows], ["UPDATE", 1, []]);
      assert.deepEqual([nothing.command, nothing.rowCount], ["DELETE", 0]);
    });
  });

  test("what is written is there for the next request", async () => {
    await withMember(async ({ id, email }) => {
      await sql`UPDATE members SET name = ${"Grace"} WHERE id = ${id}`;

      assert.deepEqual(await sql`SELECT email, name FROM members WHERE id = ${id}`, [
        { email, name: "Grace" },
      ]);
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
    const rows =
      await sql`SELECT n, repeat(chr(97 + n % 26), 1000) AS filler FROM generate_series(1, 2000) AS n`;

    assert.equal(rows.length, 2000);
    assert.equal(
      rows.reduce((sum, { filler }) => sum + filler.length, 0),
      2_000_000,
    );
    assert.deepEqual(rows.at(-1), { n: 2000, filler: "y".repeat(1000) });
  });

  test("fifty requests at once each get their own answer", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) => sql`SELECT ${n}::int AS n, ${`row ${n}`}::text AS said`),
    );

    assert.deepEqual(
      answers,
      Array.from({ length: 50 }, (_, n) => [{ n, said: `row ${n}` }]),
    );
  });

  test("a request that is given up does not harm the next", async () => {
    const signal = AbortSignal.timeout(300); // long enough for the statement to be running
    const slow = sql.query("SELECT count(*) FROM generate_series(1, 1000000000)", [], { fetchOptions: { signal } });

    await assert.rejects(slow);
    assert.deepEqual(await sql`SELECT 1 AS n`, [{ n: 1 }]);
  });

  test("the key also works as a bearer token, by fetch alone", async () => {
    const key = decodeURIComponent(new URL(connectionString).password);

    const response = await fetch(`${gateway}/sql`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({
        query: "SELECT $1::int AS n, '7'::int8 AS big, ARRAY[1,2] AS list",
        params: [1],
      }),
    });

    assert.equal(response.status, 200);
    assert.deepEqual((await response.json()).rows, [{ n: 1, big: "7", list: [1, 2] }]);
  });
});
