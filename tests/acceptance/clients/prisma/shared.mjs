// Prisma 7 with its own Neon HTTP adapter, as published, and a project of one's own for each test.
//
// The adapter has no transactions (it says so), and Prisma opens one for interactive and array
// transactions, nested writes, and upserts that are not one statement. Batches are createMany,
// updateMany and deleteMany, which are one statement each. The adapter also hands a Postgres
// error on as it is, so `code` is the SQLSTATE where other adapters have a P-number.

import assert from "node:assert/strict";
import { after } from "node:test";

import { PrismaNeonHttp } from "@prisma/adapter-neon";

import generated from "../generated/prisma/index.js";
import { connectionString, tenant, unique } from "../support.mjs";

export const { Prisma, PrismaClient } = generated;
export const prisma = new PrismaClient({ adapter: new PrismaNeonHttp(connectionString, {}) });

after(() => prisma.$disconnect());

/** Runs *body* with a project of two tasks and its owner, there for it alone; they go when it ends. */
export async function withProject(body) {
  const mark = unique("prisma");
  const owner = await prisma.member.create({ data: { email: `${mark}@example.com`, name: mark } });
  try {
    const project = await prisma.project.create({
      data: { slug: mark, name: mark, budget: "100.50", tags: ["a", "b,c"], ownerId: owner.id },
    });
    await prisma.task.createMany({
      data: [
        { title: "one", projectId: project.id, number: 1, state: "done", assigneeId: owner.id },
        { title: "two", projectId: project.id, number: 2, minutes: 9007199254740993n },
      ],
    });
    await body({ mark, owner, project, key: { tenantId_id: { tenantId: tenant, id: project.id } } });
  } finally {
    await prisma.task.deleteMany({ where: { project: { name: mark } } });
    await prisma.project.deleteMany({ where: { name: mark } });
    await prisma.member.deleteMany({ where: { email: { startsWith: mark } } });
  }
}

export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("the statement was accepted");
}
