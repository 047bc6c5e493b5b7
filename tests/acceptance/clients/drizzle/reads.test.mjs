// Drizzle's neon-http driver, as published: reads.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import { and, asc, avg, count, desc, eq, ilike, inArray, sql, sum } from "drizzle-orm";
import { alias } from "drizzle-orm/pg-core";

import { tenant, tier } from "../support.mjs";
import { db, members, projects, tasks, withProject } from "./shared.mjs";

describe(`Drizzle neon-http on ${tier}: reads`, () => {
  describe("reads", () => {
    test("select gives every column in its own type", async () => {
      await withProject(async ({ mark, owner, project }) => {
        assert.deepEqual(await db.select().from(projects).where(eq(projects.id, project.id)), [
          {
            tenantId: tenant,
            id: project.id,
            slug: mark,
            name: mark,
            ownerId: owner.id,
            budget: "100.50",
            tags: ["a", "b,c"],
            dueOn: "2024-02-29",
          },
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
          .where(and(eq(projects.id, project.id), eq(tasks.state, "done")));

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
          .select({ state: tasks.state, n: count() })
          .from(tasks)
          .where(eq(tasks.projectId, project.id))
          .groupBy(tasks.state)
          .orderBy(asc(tasks.state));

        assert.deepEqual(rows, [
          { state: "done", n: 1 },
          { state: "open", n: 2 },
        ]);
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
        const open = db.$with("open").as(db.select().from(tasks).where(eq(tasks.state, "open")));

        const rows = await db
          .with(open)
          .select({ n: count() })
          .from(open)
          .where(eq(open.projectId, project.id));

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

    test("a bigint keeps every digit", async () => {
      await withProject(async ({ project }) => {
        const one = and(eq(tasks.projectId, project.id), eq(tasks.title, "one"));
        await db.update(tasks).set({ minutes: 9007199254740993n }).where(one);

        assert.deepEqual(await db.select({ minutes: tasks.minutes }).from(tasks).where(one), [
          { minutes: 9007199254740993n },
        ]);
      });
    });

    test("a timestamp is a Date", async () => {
      await withProject(async ({ project }) => {
        const dueAt = new Date("2024-02-29T23:59:59.123Z");
        await db
          .update(tasks)
          .set({ dueAt })
          .where(and(eq(tasks.projectId, project.id), eq(tasks.title, "one")));

        assert.deepEqual(
          await db
            .select({ dueAt: tasks.dueAt })
            .from(tasks)
            .where(and(eq(tasks.projectId, project.id), eq(tasks.dueAt, dueAt))),
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
            tasks: {
              columns: { title: true, minutes: true },
              orderBy: asc(tasks.title),
              where: eq(tasks.state, "open"),
            },
          },
        });

        assert.deepEqual(rows, [
          {
            name: mark,
            owner: { name: mark },
            tasks: ["three", "two"].map((title) => ({ title, minutes: 90n })),
          },
        ]);
      });
    });

    test("with goes two steps down", async () => {
      await withProject(async ({ owner }) => {
        const found = await db.query.members.findFirst({
          columns: { email: true },
          where: eq(members.id, owner.id),
          with: {
            projects: {
              columns: { budget: true, tags: true },
              with: { tasks: { columns: { title: true } } },
            },
          },
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
});
