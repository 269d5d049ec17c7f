/** A value that JSON can say. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** A state of a job. */
export type State = "scheduled" | "available" | "retryable" | "running" | "completed" | "cancelled" | "discarded";

/** The consequence for a waiting job when one that it waits for is discarded or cancelled. */
export type IfFailed = "cancel" | "wait" | "run";

/** The id of a job. Numbers do not hold all of them exactly. */
export type JobId = bigint;

/**
 * The rule that makes a job unique among those of its kind. A job is compared with the latest that was enqueued with
 * the same value; of several at once exactly one is enqueued.
 */
export interface Unique {
  /** What is compared: all arguments, those of these names (a missing one equals null), or a value of the caller's. */
  readonly by: "args" | { readonly fields: readonly [string, ...string[]] } | { readonly value: Json };
  /** For so long after its enqueue a job counts, completed ones included. Without: until it is finished. */
  readonly lastingMs?: number;
  /** The states in which a job counts. Without: all unfinished ones and, with `lastingMs`, "completed". */
  readonly whileIn?: readonly State[];
}

/** The job that is enqueued when another one is discarded without its handler having decided so. */
export interface FollowUp {
  readonly kind: string;
  /** Without: "default". */
  readonly queue?: string;
  /** 1 (claimed first) to 4 (last). Without: 2. */
  readonly priority?: number;
  /** 1 to 1000. Without: 10. */
  readonly maxAttempts?: number;
}

/** A job that is about to be enqueued. What is left out is the database's default. */
export interface NewJob {
  readonly kind: string;
  /** Named values, of at most 256 KiB of JSON unless the queue's settings say otherwise. */
  readonly args?: { readonly [name: string]: Json };
  /** Workers claim from the queues of the kinds that they know. Without: "default". */
  readonly queue?: string;
  /** 1 (claimed first) to 4 (last). Without: 2. */
  readonly priority?: number;
  /** Due at this moment; at once if it has passed. */
  readonly runAt?: Date;
  /** Due after so long by the database's clock. Not beside `runAt`. */
  readonly delayMs?: number;
  /** Discarded after so many failed attempts, 1 to 1000. Without: 10. */
  readonly maxAttempts?: number;
  /** Jobs of one key, such as a customer's, share limits, take fair turns, and run in order in an ordered queue. */
  readonly key?: string;
  /** Words to find the job by. */
  readonly tags?: readonly string[];
  /** Enqueued only if there is no other such job. */
  readonly unique?: Unique;
  /** False: a completed job leaves no row behind. */
  readonly keepsHistory?: boolean;
  readonly onDiscard?: FollowUp;
  /** The batch that the job is a member of, which must not be done. */
  readonly batchId?: bigint;
  /** The jobs that must have ended before this one runs. */
  readonly after?: readonly JobId[];
  /** The consequence when one of `after` is discarded or cancelled. Without: "cancel". */
  readonly ifFailed?: IfFailed;
  /**
   * A carrier as OpenTelemetry's `inject` fills it. Of it the job carries "traceparent", "tracestate" and
   * "app.request.id".
   */
  readonly traceContext?: { readonly [name: string]: string };
}

/** The job that was enqueued; or, of a unique job, the one that was there already. */
export interface Enqueued {
  readonly jobId: JobId;
  readonly isNew: boolean;
}

/** Wakes the workers that have nothing to do. */
export const NOTIFY = "select pg_notify('surety_queue', '')";

/** A statement with its parameters, each a text, so that no driver makes anything else of it. */
export interface Statement {
  readonly text: string;
  readonly params: string[];
}

/** What a statement gives. Texts by position: what drivers make of other types and of names can be set on them. */
type Row = [jobId: string, isNew: "true" | "false"];

const WORDS = "array(select jsonb_array_elements_text(?::text::jsonb))";
const SECONDS = "make_interval(secs => ?::text::float8)";

// A tracestate comes from outside and is stored with every job: longer ones are left out, as the queue itself does it.
const MAX_TRACESTATE_BYTES = 512;
// What a job carries of a trace. Baggage may hold anything, and is not stored.
const TRACE_FIELDS = ["traceparent", "tracestate", "app.request.id"];

/**
 * The statement that enqueues a job. Only what the job names is an argument, so that defaults stay the database's.
 *
 * @throws TypeError for values that JSON cannot say, for a moment that is none, or beside a delay.
 */
export function statement(job: NewJob): Statement {
  if (job.runAt !== undefined && job.delayMs !== undefined) {
    throw new TypeError("a job has a moment or a delay, not both");
  }
  const params: string[] = [];
  const args: string[] = [];
  for (const [name, value, expression] of given(job)) {
    if (value !== undefined) {
      params.push(value);
      args.push(`${name} => ${expression.replace("?", `$${params.length}`)}`);
    }
  }
  return { text: `select job_id::text, is_new::text from queue.enqueue(${args.join(", ")})`, params };
}

/** What became of a job, from the only row of its statement. */
export function enqueued(rows: readonly (readonly unknown[])[]): Enqueued {
  const [row] = rows as readonly Row[];
  if (row === undefined) {
    throw new Error("queue.enqueue gave no row");
  }
  return { jobId: BigInt(row[0]), isNew: row[1] === "true" };
}

function given(job: NewJob): [name: string, value: string | undefined, expression: string][] {
  const { unique } = job;
  return [
    ["kind", job.kind, "?::text"],
    ["args", json(job.args ?? {}), "?::text::jsonb"],
    ["queue", job.queue, "?::text"],
    ["priority", job.priority?.toString(), "?::text::int"],
    ["run_at", moment(job.runAt), "?::text::timestamptz"],
    ["run_at", seconds(job.delayMs), `clock_timestamp() + ${SECONDS}`],
    ["max_attempts", job.maxAttempts?.toString(), "?::text::int"],
    ["key", job.key, "?::text"],
    ["tags", list(job.tags), WORDS],
    ["unique_by", unique && json(uniqueBy(unique, job.args ?? {})), "?::text::jsonb"],
    ["unique_for", seconds(unique?.lastingMs), SECONDS],
    ["unique_while", unique?.whileIn && json(unique.whileIn), WORDS],
    ["keeps_history", job.keepsHistory?.toString(), "?::text::boolean"],
    ["on_discard", followUp(job.onDiscard), "?::text::jsonb"],
    ["batch_id", job.batchId?.toString(), "?::text::bigint"],
    ["after", list(job.after?.map(String)), `${WORDS}::bigint[]`],
    ["if_failed", job.ifFailed, "?::text"],
    ["trace_context", carried(job.traceContext), "?::text::jsonb"],
  ];
}

function uniqueBy(unique: Unique, args: { readonly [name: string]: Json }): Json {
  if (unique.by === "args") {
    return args;
  }
  if ("value" in unique.by) {
    return unique.by.value;
  }
  return Object.fromEntries(unique.by.fields.map((name) => [name, Object.hasOwn(args, name) ? args[name]! : null]));
}

function followUp(job: FollowUp | undefined): string | undefined {
  if (job === undefined) {
    return undefined;
  }
  const { kind, queue = "default", priority = 2, maxAttempts = 10 } = job;
  return json({ kind, queue, priority, max_attempts: maxAttempts });
}

function carried(carrier: { readonly [name: string]: string } | undefined): string | undefined {
  const fields = TRACE_FIELDS.flatMap((name) => {
    const value = carrier?.[name];
    const isLong = name === "tracestate" && value !== undefined && Buffer.byteLength(value) > MAX_TRACESTATE_BYTES;
    return value && !isLong ? [[name, value] as const] : [];
  });
  return fields.length > 0 ? json(Object.fromEntries(fields)) : undefined;
}

function list(words: readonly string[] | undefined): string | undefined {
  return words && words.length > 0 ? json(words) : undefined;
}

function moment(date: Date | undefined): string | undefined {
  if (date !== undefined && Number.isNaN(date.getTime())) {
    throw new TypeError("runAt is no moment");
  }
  return date?.toISOString();
}

function seconds(ms: number | undefined): string | undefined {
  if (ms !== undefined && !Number.isFinite(ms)) {
    throw new TypeError("a duration is a finite number of milliseconds");
  }
  return ms === undefined ? undefined : String(ms / 1000);
}

/** JSON, or an error where `JSON.stringify` would say null, or nothing at all. */
function json(value: Json): string {
  return JSON.stringify(value, (name, part: unknown) => {
    if (part === undefined || typeof part === "function" || typeof part === "symbol") {
      throw new TypeError(`${name || "the value"} is ${typeof part}, which JSON cannot say`);
    }
    if (typeof part === "number" && !Number.isFinite(part)) {
      throw new TypeError(`${name || "the value"} is ${part}, which JSON cannot say`);
    }
    return part;
  });
}
