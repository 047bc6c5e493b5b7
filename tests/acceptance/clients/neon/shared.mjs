// What the files of this suite share: a client, a member of one's own, and how a refusal looks.

import assert from "node:assert/strict";

import { neon, NeonDbError } from "@neondatabase/serverless";

import { connectionString, unique } from "../support.mjs";

export const sql = neon(connectionString);

/** Runs *body* with one member that is there for it alone, and takes the member away again. */
export async function withMember(body) {
  const email = `${unique("neon")}@example.com`;
  const [member] =
    await sql`INSERT INTO members (email, name) VALUES (${email}, 'Ada') RETURNING id, email, name`;
  try {
    await body(member);
  } finally {
    await sql`DELETE FROM members WHERE id = ${member.id}`;
  }
}

/** The one value of a statement of one row and one column. */
export async function value(text, params = []) {
  const [[only]] = await sql.query(text, params, { arrayMode: true });
  return only;
}

export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof NeonDbError, `expected NeonDbError, got ${error}`);
    return error;
  }
  return assert.fail("the statement was accepted");
}
