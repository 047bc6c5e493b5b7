// What every suite needs to know of the gateway under test, and nothing about how it works.

import { randomUUID } from "node:crypto";

import { neonConfig } from "@neondatabase/serverless";

function demand(name) {
  const value = process.env[name];
  if (!value)
    throw new Error(`${name} is not set; run these suites through tests/acceptance/test_clients.py`);
  return value;
}

/** Base address of the gateway, as `http://127.0.0.1:8080`. */
export const gateway = demand("TIERGATE_URL").replace(/\/$/, "");

/** What an application would have in its environment: `postgresql://TENANT:KEY@HOST/DB`. */
export const connectionString = demand("TIERGATE_CONNECTION_STRING");

/** Tier of the tenant under test: `standard`, `premium` or `government`. */
export const tier = demand("TIERGATE_TIER");

/** Name of the tenant under test. */
export const tenant = decodeURIComponent(new URL(connectionString).username);

// The driver's own documented setting; the driver itself is as published. Its default is https://HOST/sql.
neonConfig.fetchEndpoint = () => `${gateway}/sql`;

/** The same address with another user or key. */
export function connectionStringWith({ user, password }) {
  const url = new URL(connectionString);
  if (user !== undefined) url.username = encodeURIComponent(user);
  if (password !== undefined) url.password = encodeURIComponent(password);
  return url.href;
}

/** A name that no other test has, so that no test can meet another's rows. */
export function unique(what) {
  return `${what}-${randomUUID()}`;
}
