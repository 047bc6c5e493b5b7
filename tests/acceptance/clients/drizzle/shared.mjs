// The example application as Drizzle sees it, and a project of one's own for each test.

import assert from "node:assert/strict";

import { eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-http";
import {
  bigint,
  boolean,
  date,
  foreignKey,
  integer,
  jsonb,
  numeric,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique as uniqueKey,
  uuid,
} from "drizzle-orm/pg-core";

import { connectionString, unique } from "../support.mjs";

// `tenant_id` fills itself in the database: the application reads it and never writes it.
const owned = () =>
  text("tenant_id")
    .notNull()
    .default(sql`tiergate.tenant()`);
const identity = () => uuid("id").notNull().defaultRandom();

export const members = pgTable(
  "members",
  {
    tenantId: owned(),
    id: identity(),
    email: text("email").notNull(),
    name: text("name").notNull(),
    roles: text("roles").array().notNull().default(["member"]),
    preferences: jsonb("preferences").notNull().default({}),
    isActive: boolean("is_active").notNull().default(true),
    joinedAt: timestamp("joined_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueKey().on(table.tenantId, table.email),
  ],
);

export const projects = pgTable(
  "projects",
  {
    tenantId: owned(),
    id: identity(),
    slug: text("slug").notNull(),
    name: text("name").notNull(),
    ownerId: uuid("owner_id").notNull(),
    budget: numeric("budget", { precision: 14, scale: 2 }).notNull().default("0"),
    tags: text("tags").array().notNull().default([]),
    dueOn: date("due_on"),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueKey().on(table.tenantId, table.slug),
    foreignKey({ columns: [table.tenantId, table.ownerId], foreignColumns: [members.tenantId, members.id] }),
  ],
);

export const tasks = pgTable(
  "tasks",
  {
    tenantId: owned(),
    id: identity(),
    projectId: uuid("project_id").notNull(),
    number: integer("number").notNull(),
    title: text("title").notNull(),
    state: text("state", { enum: ["open", "doing", "done"] })
      .notNull()
      .default("open"),
    assigneeId: uuid("assignee_id"),
    minutes: bigint("minutes", { mode: "bigint" }).notNull().default(0n),
    dueAt: timestamp("due_at", { withTimezone: true }),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueKey().on(table.tenantId, table.projectId, table.number),
    foreignKey({
      columns: [table.tenantId, table.projectId],
      foreignColumns: [projects.tenantId, projects.id],
    }),
  ],
);

const schema = {
  members,
  projects,
  tasks,
  memberRelations: relations(members, ({ many }) => ({ projects: many(projects) })),
  projectRelations: relations(projects, ({ one, many }) => ({
    owner: one(members, {
      fields: [projects.tenantId, projects.ownerId],
      references: [members.tenantId, members.id],
    }),
    tasks: many(tasks),
  })),
  taskRelations: relations(tasks, ({ one }) => ({
    project: one(projects, {
      fields: [tasks.tenantId, tasks.projectId],
      references: [projects.tenantId, projects.id],
    }),
  })),
};

export const db = drizzle(connectionString, { schema });

/** Runs *body* with a project of three tasks and its owner, there for it alone; they go when it ends. */
export async function withProject(body) {
  const mark = unique("drizzle");
  const [owner] = await db
    .insert(members)
    .values({ email: `${mark}@example.com`, name: mark })
    .returning();
  try {
    const [project] = await db
      .insert(projects)
      .values({
        slug: mark,
        name: mark,
        budget: "100.50",
        tags: ["a", "b,c"],
        ownerId: owner.id,
        dueOn: "2024-02-29",
      })
      .returning();
    try {
      await db.insert(tasks).values(
        ["one", "two", "three"].map((title, n) => ({
          title,
          projectId: project.id,
          number: n + 1,
          state: n === 0 ? "done" : "open",
          assigneeId: owner.id,
          minutes: 90n,
        })),
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
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error.cause ?? error;
  }
  return assert.fail("the statement was accepted");
}
