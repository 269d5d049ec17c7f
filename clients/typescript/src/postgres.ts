import type { ISql } from "postgres";

import { type Enqueued, type NewJob, NOTIFY, enqueued, statement } from "./job.js";

export type * from "./job.js";

/**
 * Enqueues a job in the transaction that `sql.begin` or `sql.reserve` gave: it exists once, and only if, that commits.
 * By an `sql` of neither, it is a transaction of its own.
 *
 * @throws `PostgresError` of postgres.js as it comes, whose `constraint_name` says which rule refused the job; the
 * transaction can then only be rolled back, also to a savepoint. `TypeError` for values that JSON cannot say.
 */
export async function enqueue(sql: ISql<{}>, job: NewJob): Promise<Enqueued> {
  const { text, params } = statement(job);
  return enqueued(await sql.unsafe<Record<string, string>[]>(text, params).values());
}

/**
 * Wakes idle workers, which otherwise look at their next poll. Call it after the commit, in a transaction of its own:
 * commits that notify wait for each other.
 */
export async function notify(sql: ISql<{}>): Promise<void> {
  await sql.unsafe(NOTIFY);
}
