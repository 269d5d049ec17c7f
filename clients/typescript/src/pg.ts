import type { ClientBase } from "pg";

import { type Enqueued, type NewJob, NOTIFY, enqueued, statement } from "./job.js";

export type * from "./job.js";

/**
 * Enqueues a job in the transaction of this client: it exists once, and only if, that commits. A pool is no client: each
 * of its queries may go by another connection.
 *
 * @throws pg's `DatabaseError` as it comes, whose `constraint` says which rule refused the job; the transaction can then
 * only be rolled back, also to a savepoint. `TypeError` for values that JSON cannot say.
 */
export async function enqueue(client: ClientBase, job: NewJob): Promise<Enqueued> {
  const { text, params } = statement(job);
  const { rows } = await client.query<unknown[]>({ text, values: params, rowMode: "array" });
  return enqueued(rows);
}

/**
 * Wakes idle workers, which otherwise look at their next poll. Call it after the commit, in a transaction of its own:
 * commits that notify wait for each other.
 */
export async function notify(client: Pick<ClientBase, "query">): Promise<void> {
  await client.query(NOTIFY);
}
