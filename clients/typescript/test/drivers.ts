// Both ways to a connection, so that each test runs by each: what differs between drivers is what can go wrong.
import { randomUUID } from "node:crypto";

import pg from "pg";
import postgres from "postgres";

import type { Enqueued, NewJob } from "../src/job.js";
import * as withPg from "../src/pg.js";
import * as withPostgres from "../src/postgres.js";

/** A database with the queue's schema. */
export const url = process.env["DATABASE_URL"]!;

export type Enqueue = (job: NewJob) => Promise<Enqueued>;

export interface Driver {
  readonly name: string;
  /** Runs a function in a transaction, which is rolled back when it throws. */
  transaction<T>(work: (enqueue: Enqueue) => Promise<T>): Promise<T>;
  notify(): Promise<void>;
  /** The code and the constraint of an error of the driver's own; undefined of any other error. */
  refusal(error: unknown): { code: string | undefined; constraint: string | undefined } | undefined;
}

const onPg: Driver = {
  name: "pg",
  async transaction(work) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      await client.query("begin");
      const result = await work((job) => withPg.enqueue(client, job));
      await client.query("commit");
      return result;
    } finally {
      await client.end();
    }
  },
  async notify() {
    const pool = new pg.Pool({ connectionString: url });
    await withPg.notify(pool);
    await pool.end();
  },
  refusal: (error) =>
    error instanceof pg.DatabaseError ? { code: error.code, constraint: error.constraint } : undefined,
};

/** With what a program may have set: other names of columns, ids as numbers. */
const onPostgres: Driver = {
  name: "postgres",
  async transaction(work) {
    const sql = postgres(url, { max: 1, transform: postgres.camel });
    try {
      return (await sql.begin((tx) => work((job) => withPostgres.enqueue(tx, job)))) as Awaited<ReturnType<typeof work>>;
    } finally {
      await sql.end();
    }
  },
  async notify() {
    const sql = postgres(url, { max: 1 });
    await withPostgres.notify(sql);
    await sql.end();
  },
  refusal: (error) =>
    error instanceof postgres.PostgresError ? { code: error.code, constraint: error.constraint_name } : undefined,
};

export const drivers = [onPg, onPostgres];

/** A kind of job that no worker knows and no other test uses. */
export function newKind(): string {
  return `typescript_${randomUUID()}`;
}

/** The rows of a query, by a connection of its own. */
export async function query(text: string, values: unknown[]): Promise<any[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** The row of a job; undefined when there is none. */
export async function stored({ jobId }: Enqueued): Promise<any> {
  return (await query("select * from queue.jobs where id = $1", [jobId.toString()]))[0];
}
