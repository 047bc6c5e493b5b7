// @neondatabase/serverless over HTTP, as published: several statements in one transaction.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { tier, unique } from "../support.mjs";
import { rejection, sql } from "./shared.mjs";

describe(`@neondatabase/serverless on ${tier}: transactions`, () => {
  test("an array of statements is answered in order", async () => {
    assert.deepEqual(await sql.transaction([sql`SELECT 1 AS a`, sql`SELECT 2 AS b`]), [
      [{ a: 1 }],
      [{ b: 2 }],
    ]);
  });

  test("a function may build the statements", async () => {
    const results = await sql.transaction((tx) => [
      tx`SELECT ${1}::int AS a`,
      tx.query("SELECT $1::int AS b", [2]),
    ]);

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
      sql`SELECT now() AS at`,
      sql`SELECT now() AS at`,
    ]);

    assert.deepEqual(one, two);
  });

  test("when the first of several statements fails, the error is its own", async () => {
    const error = await rejection(sql.transaction([sql`SELECT 1 / 0`, sql`SELECT 1`, sql`SELECT 2`]));

    assert.equal(error.code, "22012");
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

    assert.deepEqual(
      [result.command, result.rowCount, result.rows, result.rowAsArray],
      ["SELECT", 1, [[1]], true],
    );
  });
});
