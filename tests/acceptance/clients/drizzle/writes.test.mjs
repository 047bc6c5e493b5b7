// Drizzle's neon-http driver, as published: writes, batches, errors.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { and, asc, eq, isNull, sql } from "drizzle-orm";

import { tenant, tier, unique } from "../support.mjs";
import { db, members, projects, rejection, tasks, withProject } from "./shared.mjs";

describe(`Drizzle neon-http on ${tier}: writes`, () => {
  describe("writes", () => {
    test("insert returning gives what the database filled in", async () => {
      await withProject(async ({ owner }) => {
        assert.equal(owner.tenantId, tenant);
        assert.deepEqual([owner.roles, owner.preferences, owner.isActive], [["member"], {}, true]);
        assert.ok(owner.joinedAt instanceof Date);
      });
    });

    test("insert without returning tells the row count", async () => {
      const mark = unique("drizzle");
      try {
        const result = await db.insert(members).values([
          { email: `${mark}-1@example.com`, name: mark },
          { email: `${mark}-2@example.com`, name: mark, preferences: { theme: ["dark"] } },
        ]);

        assert.deepEqual([result.command, result.rowCount], ["INSERT", 2]);
      } finally {
        await db.delete(members).where(eq(members.name, mark));
      }
    });

    test("on conflict do nothing writes nothing", async () => {
      await withProject(async ({ owner }) => {
        const rows = await db
          .insert(members)
          .values({ email: owner.email, name: "Eve" })
          .onConflictDoNothing({ target: [members.tenantId, members.email] })
          .returning();

        assert.deepEqual(rows, []);
      });
    });

    test("on conflict do update is an upsert", async () => {
      await withProject(async ({ owner }) => {
        const rows = await db
          .insert(members)
          .values({ email: owner.email, name: "Eve" })
          .onConflictDoUpdate({
            target: [members.tenantId, members.email],
            set: { name: sql`excluded.name` },
          })
          .returning({ id: members.id, name: members.name });

        assert.deepEqual(rows, [{ id: owner.id, name: "Eve" }]);
      });
    });

    test("update returning gives the new row", async () => {
      await withProject(async ({ project }) => {
        const rows = await db
          .update(projects)
          .set({ budget: sql`${projects.budget} * 2`, tags: [] })
          .where(eq(projects.id, project.id))
          .returning({ budget: projects.budget, tags: projects.tags });

        assert.deepEqual(rows, [{ budget: "201.00", tags: [] }]);
      });
    });

    test("delete returning gives what is gone", async () => {
      await withProject(async ({ project }) => {
        const gone = await db
          .delete(tasks)
          .where(and(eq(tasks.projectId, project.id), isNull(tasks.dueAt), eq(tasks.state, "done")))
          .returning({ title: tasks.title });

        assert.deepEqual(gone, [{ title: "one" }]);
        assert.equal(await db.$count(tasks, eq(tasks.projectId, project.id)), 2);
      });
    });

    test("raw sql gives rows by name, with its values bound", async () => {
      const result = await db.execute(sql`SELECT ${"it's"}::text AS said, ${3}::int AS n`);

      assert.deepEqual(result.rows, [{ said: "it's", n: 3 }]);
    });
  });

  describe("batch", () => {
    test("statements of every kind are answered in order, each in its shape", async () => {
      await withProject(async ({ mark, project }) => {
        const [updated, selected, related, raw] = await db.batch([
          db
            .update(projects)
            .set({ budget: "7.00" })
            .where(eq(projects.id, project.id))
            .returning({ budget: projects.budget }),
          db
            .select({ name: projects.name, budget: projects.budget })
            .from(projects)
            .where(eq(projects.id, project.id)),
          db.query.tasks.findMany({
            columns: { title: true },
            where: eq(tasks.projectId, project.id),
            orderBy: asc(tasks.title),
          }),
          db.execute(sql`SELECT 1 AS one`),
        ]);

        assert.deepEqual(updated, [{ budget: "7.00" }]);
        assert.deepEqual(selected, [{ name: mark, budget: "7.00" }]);
        assert.deepEqual(related, [{ title: "one" }, { title: "three" }, { title: "two" }]);
        assert.deepEqual(raw.rows, [{ one: 1 }]);
      });
    });

    test("a batch that fails leaves nothing behind", async () => {
      const email = `${unique("drizzle")}@example.com`;
      const insert = () => db.insert(members).values({ email, name: "Ada" });

      const error = await rejection(db.batch([insert(), insert()]));

      assert.equal(error.code, "23505");
      assert.equal(await db.$count(members, eq(members.email, email)), 0);
    });
  });

  describe("errors", () => {
    test("a unique violation keeps its code, table and constraint", async () => {
      await withProject(async ({ owner }) => {
        const error = await rejection(db.insert(members).values({ email: owner.email, name: "Eve" }));

        assert.equal(error.code, "23505");
        assert.equal(error.table, "members");
        assert.match(error.constraint, /email/);
      });
    });

    test("another tenant's name in a row is refused", async () => {
      const error = await rejection(
        db
          .insert(members)
          .values({ tenantId: "somebody-else", email: `${unique("forged")}@example.com`, name: "Eve" }),
      );

      assert.equal(error.code, "42501");
    });

    test("db.transaction is refused by the driver itself", async () => {
      await assert.rejects(
        db.transaction(async () => {}),
        /No transactions support in neon-http driver/,
      );
    });
  });
});
