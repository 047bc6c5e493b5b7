// Drizzle's neon-http driver, as published.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { and, asc, avg, count, desc, eq, ilike, inArray, isNull, relations, sql, sum } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-http";
import { alias, boolean, foreignKey, jsonb, numeric, pgTable, primaryKey, text, timestamp, unique as uniqueKey, uuid } from "drizzle-orm/pg-core";

import { connectionString, tenant, tier, unique } from "./support.mjs";

// `tenant_id` fills itself in the database: the application reads it and never writes it.
const owned = () => text("tenant_id").notNull().default(sql`tiergate.tenant()`);
const identity = () => uuid("id").notNull().defaultRandom();

const members = pgTable(
  "members",
  {
    tenantId: owned(),
    id: identity(),
    email: text("email").notNull(),
    name: text("name").notNull(),
    settings: jsonb("settings").notNull().default({}),
    createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.id] }), uniqueKey().on(table.tenantId, table.email)],
);

const projects = pgTable(
  "projects",
  {
    tenantId: owned(),
    id: identity(),
    name: text("name").notNull(),
    budget: numeric("budget"),
    tags: text("tags").array().notNull().default([]),
    ownerId: uuid("owner_id"),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    foreignKey({ columns: [table.tenantId, table.ownerId], foreignColumns: [members.tenantId, members.id] }),
  ],
);

const tasks = pgTable(
  "tasks",
  {
    tenantId: owned(),
    id: identity(),
    projectId: uuid("project_id").notNull(),
    assigneeId: uuid("assignee_id"),
    title: text("title").notNull(),
    done: boolean("done").notNull().default(false),
    dueAt: timestamp("due_at", { withTimezone: true }),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    foreignKey({ columns: [table.tenantId, table.projectId], foreignColumns: [projects.tenantId, projects.id] }),
  ],
);

const schema = {
  members,
  projects,
  tasks,
  memberRelations: relations(members, ({ many }) => ({ projects: many(projects) })),
  projectRelations: relations(projects, ({ one, many }) => ({
    owner: one(members, { fields: [projects.tenantId, projects.ownerId], references: [members.tenantId, members.id] }),
    tasks: many(tasks),
  })),
  taskRelations: relations(tasks, ({ one }) => ({
    project: one(projects, { fields: [tasks.tenantId, tasks.projectId], references: [projects.tenantId, projects.id] }),
  })),
};

const db = drizzle(connectionString, { schema });

/** Runs *body* with a project of three tasks and its owner, there for it alone; they go when it ends. */
async function withProject(body) {
  const mark = unique("drizzle");
  const [owner] = await db.insert(members).values({ email: `${mark}@example.com`, name: mark }).returning();
  try {
    const [project] = await db
      .insert(projects)
      .values({ name: mark, budget: "100.50", tags: ["a", "b,c"], ownerId: owner.id })
      .returning();
    try {
      await db.insert(tasks).values(
        ["one", "two", "three"].map((title, n) => ({ title, projectId: project.id, done: n === 0, assigneeId: owner.id })),
      );
      await body({ mark, owner, project });
    } finally {
      await db.batch([
        db.delete(tasks).where(eq(tasks.projectId, project.id)),
        db.delete(projects).where(eq(projects.id, project.id)),
      ]);
    }
  } finally {
    await db.delete(members).where(eq(members.id, owner.id));
  }
}

/** The driver's error under Drizzle's own. */
async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error.cause ?? error;
  }
  return assert.fail("the statement was accepted");
}

describe(`Drizzle neon-http on ${tier}`, () => {
  describe("reads", () => {
    test("select gives every column in its own type", async () => {
      await withProject(async ({ mark, owner, project }) => {
        assert.deepEqual(await db.select().from(projects).where(eq(projects.id, project.id)), [
          { tenantId: tenant, id: project.id, name: mark, budget: "100.50", tags: ["a", "b,c"], ownerId: owner.id },
        ]);
      });
    });

    test("where, order, limit and offset hold", async () => {
      await withProject(async ({ project }) => {
        const rows = await db
          .select({ title: tasks.title })
          .from(tasks)
          .where(and(eq(tasks.projectId, project.id), inArray(tasks.title, ["one", "two", "three"])))
          .orderBy(desc(tasks.title))
          .limit(2)
          .offset(1);

        assert.deepEqual(rows, [{ title: "three" }, { title: "one" }]);
      });
    });

    test("an inner join gives both sides", async () => {
      await withProject(async ({ mark, project }) => {
        const rows = await db
          .select({ task: tasks.title, project: projects.name })
          .from(tasks)
          .innerJoin(projects, eq(tasks.projectId, projects.id))
          .where(and(eq(projects.id, project.id), eq(tasks.done, true)));

        assert.deepEqual(rows, [{ task: "one", project: mark }]);
      });
    });

    test("a left join without a match gives null", async () => {
      await withProject(async ({ project }) => {
        const rows = await db
          .select({ name: projects.name, task: tasks })
          .from(projects)
          .leftJoin(tasks, and(eq(tasks.projectId, projects.id), eq(tasks.title, "nothing")))
          .where(eq(projects.id, project.id));

        assert.deepEqual(rows, [{ name: project.name, task: null }]);
      });
    });

    test("two columns of one name are kept apart", async () => {
      await withProject(async ({ owner, project }) => {
        const boss = alias(members, "boss");

        const rows = await db
          .select({ project: projects.id, owner: boss.id })
          .from(projects)
          .innerJoin(boss, eq(projects.ownerId, boss.id))
          .where(eq(projects.id, project.id));

        assert.deepEqual(rows, [{ project: project.id, owner: owner.id }]);
      });
    });

    test("aggregates group", async () => {
      await withProject(async ({ project }) => {
        const rows = await db
          .select({ done: tasks.done, n: count() })
          .from(tasks)
          .where(eq(tasks.projectId, project.id))
          .groupBy(tasks.done)
          .orderBy(asc(tasks.done));

        assert.deepEqual(rows, [{ done: false, n: 2 }, { done: true, n: 1 }]);
      });
    });

    test("sums and averages keep their digits", async () => {
      await withProject(async ({ project }) => {
        const [row] = await db
          .select({ total: sum(projects.budget), mean: avg(projects.budget).mapWith(Number) })
          .from(projects)
          .where(eq(projects.id, project.id));

        assert.deepEqual(row, { total: "100.50", mean: 100.5 });
      });
    });

    test("$count counts", async () => {
      await withProject(async ({ project }) => {
        assert.equal(await db.$count(tasks, eq(tasks.projectId, project.id)), 3);
      });
    });

    test("a common table expression is a table", async () => {
      await withProject(async ({ project }) => {
        const open = db.$with("open").as(db.select().from(tasks).where(eq(tasks.done, false)));

        const rows = await db.with(open).select({ n: count() }).from(open).where(eq(open.projectId, project.id));

        assert.deepEqual(rows, [{ n: 2 }]);
      });
    });

    test("a prepared statement takes its values later", async () => {
      await withProject(async ({ owner }) => {
        const byEmail = db
          .select({ id: members.id })
          .from(members)
          .where(ilike(members.email, sql.placeholder("email")))
          .prepare("member_by_email");

        assert.deepEqual(await byEmail.execute({ email: owner.email.toUpperCase() }), [{ id: owner.id }]);
      });
    });

    test("a timestamp is a Date", async () => {
      await withProject(async ({ project }) => {
        const dueAt = new Date("2024-02-29T23:59:59.123Z");
        await db.update(tasks).set({ dueAt }).where(and(eq(tasks.projectId, project.id), eq(tasks.title, "one")));

        assert.deepEqual(
          await db.select({ dueAt: tasks.dueAt }).from(tasks).where(and(eq(tasks.projectId, project.id), eq(tasks.dueAt, dueAt))),
          [{ dueAt }],
        );
      });
    });
  });

  describe("relational queries", () => {
    test("with brings a project's tasks and its owner", async () => {
      await withProject(async ({ mark, project }) => {
        const rows = await db.query.projects.findMany({
          columns: { name: true },
          where: eq(projects.id, project.id),
          with: {
            owner: { columns: { name: true } },
            tasks: { columns: { title: true, done: true }, orderBy: asc(tasks.title), where: eq(tasks.done, false) },
          },
        });

        assert.deepEqual(rows, [
          { name: mark, owner: { name: mark }, tasks: [{ title: "three", done: false }, { title: "two", done: false }] },
        ]);
      });
    });

    test("with goes two steps down", async () => {
      await withProject(async ({ owner }) => {
        const found = await db.query.members.findFirst({
          columns: { email: true },
          where: eq(members.id, owner.id),
          with: { projects: { columns: { budget: true, tags: true }, with: { tasks: { columns: { title: true } } } } },
        });

        assert.equal(found.email, owner.email);
        assert.deepEqual(found.projects[0].tags, ["a", "b,c"]);
        assert.deepEqual(found.projects[0].tasks.map(({ title }) => title).sort(), ["one", "three", "two"]);
      });
    });

    test("findFirst of nothing is undefined", async () => {
      assert.equal(await db.query.members.findFirst({ where: eq(members.id, randomUUID()) }), undefined);
    });
  });

  describe("writes", () => {
    test("insert returning gives what the database filled in", async () => {
      await withProject(async ({ owner }) => {
        assert.equal(owner.tenantId, tenant);
        assert.deepEqual(owner.settings, {});
        assert.ok(owner.createdAt instanceof Date);
      });
    });

    test("insert without returning tells the row count", async () => {
      const mark = unique("drizzle");
      try {
        const result = await db.insert(members).values([
          { email: `${mark}-1@example.com`, name: mark },
          { email: `${mark}-2@example.com`, name: mark, settings: { theme: ["dark"] } },
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
          .onConflictDoUpdate({ target: [members.tenantId, members.email], set: { name: sql`excluded.name` } })
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
          .where(and(eq(tasks.projectId, project.id), isNull(tasks.dueAt), eq(tasks.done, true)))
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
          db.update(projects).set({ budget: "7.00" }).where(eq(projects.id, project.id)).returning({ budget: projects.budget }),
          db.select({ name: projects.name, budget: projects.budget }).from(projects).where(eq(projects.id, project.id)),
          db.query.tasks.findMany({ columns: { title: true }, where: eq(tasks.projectId, project.id), orderBy: asc(tasks.title) }),
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
        db.insert(members).values({ tenantId: "somebody-else", email: unique("forged"), name: "Eve" }),
      );

      assert.equal(error.code, "42501");
    });

    test("db.transaction is refused by the driver itself", async () => {
      await assert.rejects(db.transaction(async () => {}), /No transactions support in neon-http driver/);
    });
  });
});
