// Prisma over HTTP, as published: reads, raw statements, errors.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { tenant, tier, unique } from "../support.mjs";
import { Prisma, prisma, rejection, withProject } from "./shared.mjs";

describe(`Prisma over HTTP on ${tier}: reads`, () => {
  describe("read", () => {
    test("findMany takes where, orderBy, take and skip", async () => {
      await withProject(async ({ project }) => {
        const found = await prisma.task.findMany({
          where: { projectId: project.id, OR: [{ title: "one" }, { title: { contains: "w" } }] },
          orderBy: { title: "desc" },
          skip: 1,
          take: 5,
          select: { title: true, state: true },
        });

        assert.deepEqual(found, [{ title: "one", state: "done" }]);
      });
    });

    test("include brings relations of both directions, and counts", async () => {
      await withProject(async ({ mark, key }) => {
        const found = await prisma.project.findUnique({
          where: key,
          include: {
            owner: { select: { name: true } },
            tasks: { orderBy: { title: "asc" }, include: { assignee: { select: { name: true } } } },
            _count: { select: { tasks: true } },
          },
        });

        assert.equal(found.owner.name, mark);
        assert.deepEqual(
          found.tasks.map(({ title, assignee }) => [title, assignee?.name ?? null]),
          [
            ["one", mark],
            ["two", null],
          ],
        );
        assert.equal(found._count.tasks, 2);
      });
    });

    test("a filter on a relation joins", async () => {
      await withProject(async ({ mark, project }) => {
        const byOwner = await prisma.project.findMany({
          where: { owner: { name: mark } },
          select: { id: true },
        });
        const byTask = await prisma.project.findMany({
          where: { name: mark, tasks: { some: { state: "done" } } },
          select: { id: true },
        });

        assert.deepEqual([byOwner, byTask], [[{ id: project.id }], [{ id: project.id }]]);
      });
    });

    test("a filter on an array column holds", async () => {
      await withProject(async ({ mark }) => {
        assert.equal(await prisma.project.count({ where: { name: mark, tags: { has: "b,c" } } }), 1);
        assert.equal(await prisma.project.count({ where: { name: mark, tags: { isEmpty: true } } }), 0);
      });
    });

    test("findUnique of nothing is null", async () => {
      assert.equal(
        await prisma.member.findUnique({ where: { tenantId_id: { tenantId: tenant, id: randomUUID() } } }),
        null,
      );
    });

    test("count, aggregate and groupBy add up", async () => {
      await withProject(async ({ mark, project }) => {
        const total = await prisma.project.aggregate({
          where: { name: mark },
          _sum: { budget: true },
          _count: true,
        });
        const groups = await prisma.task.groupBy({
          by: ["state"],
          where: { projectId: project.id },
          _count: { _all: true },
          _sum: { minutes: true },
          orderBy: { state: "asc" },
        });

        assert.equal(await prisma.task.count({ where: { projectId: project.id } }), 2);
        assert.deepEqual([total._count, total._sum.budget.toFixed(2)], [1, "100.50"]);
        assert.deepEqual(groups, [
          { state: "done", _count: { _all: 1 }, _sum: { minutes: 0n } },
          { state: "open", _count: { _all: 1 }, _sum: { minutes: 9007199254740993n } },
        ]);
      });
    });

    test("rows are the tenant's own", async () => {
      await withProject(async () => {
        const names = await prisma.member.findMany({ distinct: ["tenantId"], select: { tenantId: true } });

        assert.deepEqual(names, [{ tenantId: tenant }]);
      });
    });
  });

  describe("raw", () => {
    test("$queryRaw gives each type as Prisma knows it", async () => {
      const [row] = await prisma.$queryRaw`
        SELECT ${"it's"}::text AS said, 9223372036854775807::int8 AS big, 1.50::numeric AS exact, true AS yes,
               '2024-02-29'::date AS day, ARRAY[1, 2] AS list, '{"a":[1]}'::jsonb AS doc, NULL::text AS nothing`;

      assert.deepEqual(
        { ...row, exact: row.exact.toString() },
        {
          said: "it's",
          big: 9223372036854775807n,
          exact: "1.5",
          yes: true,
          day: new Date("2024-02-29T00:00:00Z"),
          list: [1, 2],
          doc: { a: [1] },
          nothing: null,
        },
      );
    });

    test("$executeRaw tells how many rows it touched", async () => {
      await withProject(async ({ project }) => {
        assert.equal(
          await prisma.$executeRaw`UPDATE tasks SET state = ${"doing"} WHERE project_id = ${project.id}::uuid`,
          2,
        );
      });
    });

    test("$queryRawUnsafe binds what is given beside the text", async () => {
      assert.deepEqual(await prisma.$queryRawUnsafe("SELECT $1::int + 1 AS n", 41), [{ n: 42 }]);
    });
  });

  describe("errors", () => {
    test("a unique violation keeps its SQLSTATE and constraint", async () => {
      await withProject(async ({ owner }) => {
        const error = await rejection(prisma.member.create({ data: { email: owner.email, name: "Eve" } }));

        assert.ok(error instanceof Prisma.PrismaClientKnownRequestError);
        assert.equal(error.code, "23505");
        assert.match(error.message, /violates unique constraint "members_.*email/);
      });
    });

    test("a foreign key violation keeps its SQLSTATE", async () => {
      const error = await rejection(
        prisma.task.create({ data: { title: "orphan", number: 1, projectId: randomUUID() } }),
      );

      assert.equal(error.code, "23503");
    });

    test("a row in another tenant's name is refused", async () => {
      const error = await rejection(
        prisma.member.create({
          data: { tenantId: "somebody-else", email: `${unique("forged")}@example.com`, name: "Eve" },
        }),
      );

      assert.equal(error.code, "42501");
    });

    test("a statement that is not a query is refused", async () => {
      const error = await rejection(prisma.$executeRaw`CREATE TABLE mine (id int)`);

      assert.match(error.message, /create/i);
    });

    test("transactions are refused by the adapter itself, before anything is sent", async () => {
      await withProject(async ({ mark, key }) => {
        const refused = /Transactions are not supported in HTTP mode/;
        const insert = (n) =>
          prisma.member.create({ data: { email: `${mark}-${n}@example.com`, name: "Ada" } });

        await assert.rejects(prisma.$transaction([insert(1), insert(2)]), refused);
        await assert.rejects(
          prisma.$transaction((tx) => tx.member.count()),
          refused,
        );
        await assert.rejects(
          prisma.project.update({ where: key, data: { tasks: { create: { number: 3, title: "nested" } } } }),
          refused,
        );
        assert.equal(await prisma.member.count({ where: { email: { startsWith: `${mark}-` } } }), 0);
      });
    });
  });
});
