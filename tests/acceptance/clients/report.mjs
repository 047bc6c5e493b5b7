// A reporter for Node's test runner: one line of JSON for each test, none for the suites around them.

import { inspect } from "node:util";

const path = [];

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type === "test:start") {
      path.length = data.nesting;
      path.push(data.name);
    }
    if ((type !== "test:pass" && type !== "test:fail") || data.details?.type === "suite") continue;
    const passed = type === "test:pass" && data.skip === undefined && data.todo === undefined;
    const cause = data.details?.error?.cause ?? data.details?.error;
    const names = [...path.slice(0, data.nesting), data.name];
    yield `${JSON.stringify({
      name: names.join(": "),
      passed,
      skipped: data.skip !== undefined,
      error: cause === undefined ? "" : inspect(cause, { depth: 6 }),
    })}\n`;
  }
}
