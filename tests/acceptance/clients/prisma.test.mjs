// Prisma 7 with its own Neon HTTP adapter, as published.
//
// The adapter has no transactions (it says so), and Prisma opens one for interactive and array
// transactions, nested writes, and upserts that are not one statement. Batches are createMany,
// updateMany and deleteMany, which are one statement each. The adapter also hands a Postgres
// error on as it is, so `code` is the SQLSTATE where other adapters have a P-number.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";

import { PrismaNeonHttp } from "@prisma/adapter-neon";

import generated from "./generated/prisma/index.js";
import { connectionString, tenant, tier, unique } from "./support.mjs";

const { Prisma, PrismaClient } = generated;
const prisma = new PrismaClient({ adapter: new PrismaNeonHttp(connectionString, {}) });

after(() => prisma.$disconnect());

/** Runs *body* with a project of two tasks and its owner, there for it alone; they go when it ends. */
async function withProject(body) {
  const mark = unique("prisma");
  const owner = await prisma.member.create({ data: { email: `${mark}@example.com`, name: mark } });
  try {
    const project = await prisma.project.create({
      data: { name: mark, budget: "100.50", tags: ["a", "b,c"], ownerId: owner.id },
    });
    await prisma.task.createMany({
      data: [
        { title: "one", projectId: project.id, done: true, assigneeId: owner.id },
        { title: "two", projectId: project.id },
      ],
    });
    await body({ mark, owner, project, key: { tenantId_id: { tenantId: tenant, id: project.id } } });
  } finally {
    await prisma.task.deleteMany({ where: { project: { name: mark } } });
    await prisma.project.deleteMany({ where: { name: mark } });
    await prisma.member.deleteMany({ where: { email: { startsWith: mark } } });
  }
}

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("the statement was accepted");
}

describe(`Prisma over HTTP on ${tier}`, () => {
  describe("create", () => {
    test("gives back what the database filled in", async () => {
      await withProject(async ({ owner, project }) => {
        assert.equal(owner.tenantId, tenant);
        assert.deepEqual(owner.settings, {});
        assert.ok(owner.createdAt instanceof Date);
        assert.equal(project.budget.toFixed(2), "100.50");
        assert.deepEqual(project.tags, ["a", "b,c"]);
      });
    });

    test("json, bytes and instants come back as they went", async () => {
      const email = `${unique("prisma")}@example.com`;
      const given = {
        settings: { theme: "dark", sizes: [1, 2.5, null], deep: { "ü": true } },
        avatar: Uint8Array.from({ length: 256 }, (_, byte) => byte),
        createdAt: new Date("2024-02-29T23:59:59.123Z"),
      };
      try {
        await prisma.member.create({ data: { email, name: "Ada", ...given } });

        const found = await prisma.member.findUnique({ where: { tenantId_email: { tenantId: tenant, email } } });
        assert.deepEqual(found.settings, given.settings);
        assert.deepEqual(Uint8Array.from(found.avatar), given.avatar);
        assert.deepEqual(found.createdAt, given.createdAt);
        assert.equal(await prisma.member.count({ where: { email, createdAt: given.createdAt } }), 1);
      } finally {
        await prisma.member.deleteMany({ where: { email } });
      }
    });

    test("createMany is one batch, and tells how many", async () => {
      const mark = unique("prisma");
      try {
        const made = await prisma.project.createMany({ data: [1, 2, 3].map((n) => ({ name: `${mark}-${n}` })) });

        assert.deepEqual(made, { count: 3 });
        assert.equal(await prisma.project.count({ where: { name: { startsWith: mark } } }), 3);
      } finally {
        await prisma.project.deleteMany({ where: { name: { startsWith: mark } } });
      }
    });

    test("createMany that fails at one row keeps none", async () => {
      const mark = unique("prisma");

      const error = await rejection(prisma.project.createMany({ data: [{ name: mark }, { name: mark }] }));

      assert.equal(error.code, "23505");
      assert.equal(await prisma.project.count({ where: { name: mark } }), 0);
    });

    test("createMany can skip what is there", async () => {
      await withProject(async ({ owner, mark }) => {
        const made = await prisma.member.createMany({
          skipDuplicates: true,
          data: [owner.email, `${mark}-2@example.com`].map((email) => ({ email, name: mark })),
        });

        assert.deepEqual(made, { count: 1 });
      });
    });

    test("createManyAndReturn gives the rows", async () => {
      await withProject(async ({ mark }) => {
        const made = await prisma.member.createManyAndReturn({
          data: [2, 3].map((n) => ({ email: `${mark}-${n}@example.com`, name: `${n}` })),
          select: { name: true, tenantId: true },
        });

        assert.deepEqual(made, [{ name: "2", tenantId: tenant }, { name: "3", tenantId: tenant }]);
      });
    });
  });

  describe("read", () => {
    test("findMany takes where, orderBy, take and skip", async () => {
      await withProject(async ({ project }) => {
        const found = await prisma.task.findMany({
          where: { projectId: project.id, OR: [{ title: "one" }, { title: { contains: "w" } }] },
          orderBy: { title: "desc" },
          skip: 1,
          take: 5,
          select: { title: true, done: true },
        });

        assert.deepEqual(found, [{ title: "one", done: true }]);
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
        assert.deepEqual(found.tasks.map(({ title, assignee }) => [title, assignee?.name ?? null]), [["one", mark], ["two", null]]);
        assert.equal(found._count.tasks, 2);
      });
    });

    test("a filter on a relation joins", async () => {
      await withProject(async ({ mark, project }) => {
        const byOwner = await prisma.project.findMany({ where: { owner: { name: mark } }, select: { id: true } });
        const byTask = await prisma.project.findMany({ where: { name: mark, tasks: { some: { done: true } } }, select: { id: true } });

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
      assert.equal(await prisma.member.findUnique({ where: { tenantId_id: { tenantId: tenant, id: randomUUID() } } }), null);
    });

    test("count, aggregate and groupBy add up", async () => {
      await withProject(async ({ mark, project }) => {
        const total = await prisma.project.aggregate({ where: { name: mark }, _sum: { budget: true }, _count: true });
        const groups = await prisma.task.groupBy({
          by: ["done"],
          where: { projectId: project.id },
          _count: { _all: true },
          orderBy: { done: "asc" },
        });

        assert.equal(await prisma.task.count({ where: { projectId: project.id } }), 2);
        assert.deepEqual([total._count, total._sum.budget.toFixed(2)], [1, "100.50"]);
        assert.deepEqual(groups, [{ done: false, _count: { _all: 1 } }, { done: true, _count: { _all: 1 } }]);
      });
    });

    test("rows are the tenant's own", async () => {
      await withProject(async () => {
        const names = await prisma.member.findMany({ distinct: ["tenantId"], select: { tenantId: true } });

        assert.deepEqual(names, [{ tenantId: tenant }]);
      });
    });
  });

  describe("update and delete", () => {
    test("update by a composite key gives the new row", async () => {
      await withProject(async ({ key }) => {
        const updated = await prisma.project.update({ where: key, data: { budget: { increment: 1 }, tags: { push: "d" } } });

        assert.equal(updated.budget.toFixed(2), "101.50");
        assert.deepEqual(updated.tags, ["a", "b,c", "d"]);
      });
    });

    test("update of nothing is P2025", async () => {
      const error = await rejection(
        prisma.member.update({ where: { tenantId_id: { tenantId: tenant, id: randomUUID() } }, data: { name: "x" } }),
      );

      assert.ok(error instanceof Prisma.PrismaClientKnownRequestError);
      assert.equal(error.code, "P2025");
    });

    test("updateMany tells how many, updateManyAndReturn which", async () => {
      await withProject(async ({ project }) => {
        const where = { projectId: project.id };

        assert.deepEqual(await prisma.task.updateMany({ where, data: { done: true } }), { count: 2 });
        assert.deepEqual(
          await prisma.task.updateManyAndReturn({ where, data: { title: "same" }, select: { title: true, done: true } }),
          [{ title: "same", done: true }, { title: "same", done: true }],
        );
      });
    });

    test("upsert that is one statement creates, then updates", async () => {
      await withProject(async ({ mark }) => {
        const email = `${mark}-upsert@example.com`;
        const where = { tenantId_email: { tenantId: tenant, email } };
        const upsert = (name) =>
          prisma.member.upsert({ where, create: { tenantId: tenant, email, name }, update: { name } });

        const created = await upsert("first");
        const updated = await upsert("second");

        assert.deepEqual([created.name, updated.name, created.id === updated.id], ["first", "second", true]);
      });
    });

    test("delete gives what is gone", async () => {
      await withProject(async ({ owner, mark }) => {
        await prisma.task.deleteMany({ where: { project: { name: mark } } });
        await prisma.project.deleteMany({ where: { name: mark } });

        const gone = await prisma.member.delete({ where: { tenantId_email: { tenantId: tenant, email: owner.email } } });

        assert.equal(gone.id, owner.id);
        assert.equal(await prisma.member.count({ where: { email: owner.email } }), 0);
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
        assert.equal(await prisma.$executeRaw`UPDATE tasks SET done = ${true} WHERE project_id = ${project.id}::uuid`, 2);
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
      const error = await rejection(prisma.task.create({ data: { title: "orphan", projectId: randomUUID() } }));

      assert.equal(error.code, "23503");
    });

    test("a row in another tenant's name is refused", async () => {
      const error = await rejection(
        prisma.member.create({ data: { tenantId: "somebody-else", email: unique("forged"), name: "Eve" } }),
      );

      assert.equal(error.code, "42501");
    });

    test("a statement that is not a query is refused", async () => {
      const error = await rejection(prisma.$executeRaw`CREATE TABLE mine (id int)`);

      assert.match(error.message, /CREATE/);
    });

    test("transactions are refused by the adapter itself, before anything is sent", async () => {
      const refused = /Transactions are not supported in HTTP mode/;
      const email = `${unique("prisma")}@example.com`;
      const insert = () => prisma.member.create({ data: { email, name: "Ada" } });

      await assert.rejects(prisma.$transaction([insert(), insert()]), refused);
      await assert.rejects(prisma.$transaction((tx) => tx.member.count()), refused);
      await assert.rejects(prisma.project.create({ data: { name: email, tasks: { create: { title: "nested" } } } }), refused);
      assert.equal(await prisma.member.count({ where: { email } }), 0);
    });
  });
});
