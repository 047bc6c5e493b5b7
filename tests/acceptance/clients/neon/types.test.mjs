// @neondatabase/serverless over HTTP, as published: every type, there and back.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { tier, unique } from "../support.mjs";
import { sql, value, withMember } from "./shared.mjs";

describe(`@neondatabase/serverless on ${tier}: types`, () => {
  const there = [
    ["bigint", "int8", 9223372036854775807n, "9223372036854775807"],
    ["negative bigint", "int8", "-9223372036854775808", "-9223372036854775808"],
    ["smallint", "int2", -32768, -32768],
    [
      "numeric keeps every digit",
      "numeric",
      "12345678901234567890.123456789",
      "12345678901234567890.123456789",
    ],
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
    [
      "array of arrays",
      "int4[]",
      [
        [1, 2],
        [3, 4],
      ],
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      "text array that needs quoting",
      "text[]",
      ["a,b", 'c"d', "{e}", "", "NULL", "\\"],
      ["a,b", 'c"d', "{e}", "", "NULL", "\\"],
    ],
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
    assert.deepEqual(
      await value("SELECT '2024-03-01 02:59:59.5+03'::timestamptz"),
      new Date("2024-02-29T23:59:59.5Z"),
    );
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

    const rows = await sql.query("SELECT 1::int4 AS a, true AS b, 1.50::numeric AS c, ARRAY[1,2] AS d", [], {
      types,
    });

    assert.deepEqual(rows, [{ a: "<1>", b: "<t>", c: "<1.50>", d: "<{1,2}>" }]);
  });

  test("a row of the application keeps json, arrays, numerics, dates and bytes", async () => {
    await withMember(async ({ id: owner }) => {
      const slug = unique("types");
      const avatar = Buffer.from([0, 255, 92, 39]);
      const [project] = await sql`
        INSERT INTO projects (slug, name, owner_id, budget, tags, settings, due_on)
        VALUES (${slug}, 'Types', ${owner}, ${"1234.50"}, ${["a", "b,c"]}, ${{ deep: [1, null] }}, ${"2024-02-29"})
        RETURNING id, budget, tags, settings, due_on::text`;
      try {
        const [member] =
          await sql`UPDATE members SET avatar = ${avatar} WHERE id = ${owner} RETURNING avatar, roles`;

        assert.deepEqual(project, {
          id: project.id,
          budget: "1234.50",
          tags: ["a", "b,c"],
          settings: { deep: [1, null] },
          due_on: "2024-02-29",
        });
        assert.deepEqual([Buffer.from(member.avatar), member.roles], [avatar, ["member"]]);
      } finally {
        await sql`DELETE FROM projects WHERE slug = ${slug}`;
      }
    });
  });
});
