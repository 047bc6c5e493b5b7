// @neondatabase/serverless over HTTP, as published: what a refusal tells.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { neon } from "@neondatabase/serverless";

import { connectionStringWith, tenant, tier, unique } from "../support.mjs";
import { rejection, sql, withMember } from "./shared.mjs";

describe(`@neondatabase/serverless on ${tier}: errors`, () => {
  test("a syntax error tells its code and where it is", async () => {
    const error = await rejection(sql`SELECT 1 FROM WHERE`);

    assert.equal(error.code, "42601");
    assert.equal(error.severity, "ERROR");
    assert.equal(error.position, "15");
    assert.match(error.message, /syntax error at or near "WHERE"/);
  });

  test("a wrong statement is as wrong the third time as the first", async () => {
    const codes = [];
    for (let n = 0; n < 3; n += 1) {
      codes.push(
        (await rejection(sql.query("SELECT nothing_of_that_name FROM members WHERE id = $1", [randomUUID()])))
          .code,
      );
    }

    assert.deepEqual(codes, ["42703", "42703", "42703"]);
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
    const error = await rejection(
      sql`INSERT INTO members (email, name) VALUES (${`${unique("null")}@example.com`}, NULL)`,
    );

    assert.deepEqual([error.code, error.table, error.column], ["23502", "members", "name"]);
  });

  test("a foreign key violation names its constraint", async () => {
    const error = await rejection(
      sql`INSERT INTO tasks (project_id, number, title) VALUES (${randomUUID()}, 1, 'orphan')`,
    );

    assert.deepEqual([error.code, error.table], ["23503", "tasks"]);
    assert.match(error.constraint, /project/);
  });

  test("a statement that is not a query is refused, with its word", async () => {
    for (const [text, word] of [
      ["CREATE TABLE mine (id int)", /create/i],
      ["DROP TABLE members", /drop/i],
      ["SET search_path = public", /set/i],
      ["BEGIN", /begin/i],
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

    const unknown = await rejection(
      neon(connectionStringWith({ user: nobody, password: "tg_wrong_key" }))`SELECT 1`,
    );
    const wrong = await rejection(neon(connectionStringWith({ password: "tg_wrong_key" }))`SELECT 1`);

    assert.equal(unknown.code, wrong.code);
    assert.equal(unknown.message.replaceAll(nobody, "X"), wrong.message.replaceAll(tenant, "X"));
  });

  test("a key is of no use to another tenant", async () => {
    const other = neon(connectionStringWith({ user: tenant === "acme" ? "globex" : "acme" }));

    assert.equal((await rejection(other`SELECT 1`)).code, "28P01");
  });
});
