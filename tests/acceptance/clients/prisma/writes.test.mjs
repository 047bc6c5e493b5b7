// Prisma over HTTP, as published: create, update, delete, in ones and in batches.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { tenant, tier, unique } from "../support.mjs";
import { Prisma, prisma, rejection, withProject } from "./shared.mjs";

describe(`Prisma over HTTP on ${tier}: writes`, () => {
  describe("create", () => {
    test("gives back what the database filled in", async () => {
      await withProject(async ({ owner, project }) => {
        assert.equal(owner.tenantId, tenant);
        assert.deepEqual([owner.roles, owner.preferences, owner.isActive], [["member"], {}, true]);
        assert.ok(owner.joinedAt instanceof Date);
        assert.equal(project.budget.toFixed(2), "100.50");
        assert.deepEqual(project.tags, ["a", "b,c"]);
      });
    });

    test("json, bytes and instants come back as they went", async () => {
      const email = `${unique("prisma")}@example.com`;
      const given = {
        preferences: { theme: "dark", sizes: [1, 2.5, null], deep: { ü: true } },
        avatar: Uint8Array.from({ length: 256 }, (_, byte) => byte),
        joinedAt: new Date("2024-02-29T23:59:59.123Z"),
      };
      try {
        await prisma.member.create({ data: { email, name: "Ada", ...given } });

        const found = await prisma.member.findUnique({
          where: { tenantId_email: { tenantId: tenant, email } },
        });
        assert.deepEqual(found.preferences, given.preferences);
        assert.deepEqual(Uint8Array.from(found.avatar), given.avatar);
        assert.deepEqual(found.joinedAt, given.joinedAt);
        assert.equal(await prisma.member.count({ where: { email, joinedAt: given.joinedAt } }), 1);
      } finally {
        await prisma.member.deleteMany({ where: { email } });
      }
    });

    test("createMany is one batch, and tells how many", async () => {
      await withProject(async ({ mark, owner }) => {
        const data = [1, 2, 3].map((n) => ({ slug: `${mark}-${n}`, name: mark, ownerId: owner.id }));

        const made = await prisma.project.createMany({ data });

        assert.deepEqual(made, { count: 3 });
        assert.equal(await prisma.project.count({ where: { slug: { startsWith: `${mark}-` } } }), 3);
      });
    });

    test("createMany that fails at one row keeps none", async () => {
      await withProject(async ({ mark, owner }) => {
        const data = ["new", "twice", "twice"].map((slug) => ({
          slug: `${mark}-${slug}`,
          name: mark,
          ownerId: owner.id,
        }));

        const error = await rejection(prisma.project.createMany({ data }));

        assert.equal(error.code, "23505");
        assert.equal(await prisma.project.count({ where: { slug: { startsWith: `${mark}-` } } }), 0);
      });
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

        assert.deepEqual(made, [
          { name: "2", tenantId: tenant },
          { name: "3", tenantId: tenant },
        ]);
      });
    });
  });

  describe("update and delete", () => {
    test("update by a composite key gives the new row", async () => {
      await withProject(async ({ key }) => {
        const updated = await prisma.project.update({
          where: key,
          data: { budget: { increment: 1 }, tags: { push: "d" } },
        });

        assert.equal(updated.budget.toFixed(2), "101.50");
        assert.deepEqual(updated.tags, ["a", "b,c", "d"]);
      });
    });

    test("update of nothing is P2025", async () => {
      const error = await rejection(
        prisma.member.update({
          where: { tenantId_id: { tenantId: tenant, id: randomUUID() } },
          data: { name: "x" },
        }),
      );

      assert.ok(error instanceof Prisma.PrismaClientKnownRequestError);
      assert.equal(error.code, "P2025");
    });

    test("updateMany tells how many, updateManyAndReturn which", async () => {
      await withProject(async ({ project }) => {
        const where = { projectId: project.id };

        assert.deepEqual(await prisma.task.updateMany({ where, data: { state: "doing" } }), { count: 2 });
        assert.deepEqual(
          await prisma.task.updateManyAndReturn({
            where,
            data: { title: "same" },
            select: { title: true, state: true },
          }),
          [
            { title: "same", state: "doing" },
            { title: "same", state: "doing" },
          ],
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

        const gone = await prisma.member.delete({
          where: { tenantId_email: { tenantId: tenant, email: owner.email } },
        });

        assert.equal(gone.id, owner.id);
        assert.equal(await prisma.member.count({ where: { email: owner.email } }), 0);
      });
    });
  });
});
