import assert from "node:assert/strict";
import { describe, it } from "node:test";

import pg from "pg";

import type { NewJob, Unique } from "../src/job.js";
import { drivers, newKind, query, stored, url } from "./drivers.js";

const CARRIER = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=b" };

for (const driver of drivers) {
  const enqueueOne = (job: NewJob) => driver.transaction((enqueue) => enqueue(job));

  describe(driver.name, () => {
    it("enqueues a job with what it names alone", async () => {
      const kind = newKind();
      const enqueued = await enqueueOne({ kind });
      const job = await stored(enqueued);
      assert.equal(enqueued.isNew, true);
      assert.deepEqual([job.kind, job.args, job.queue, job.priority], [kind, {}, "default", 2]);
      assert.deepEqual([job.max_attempts, job.keeps_history, job.trace_context], [10, true, null]);
    });

    it("enqueues a job with everything that it names", async () => {
      const first = await enqueueOne({ kind: newKind() });
      const args = { name: 'Ada "ℂ" \\ \n é', deep: [{ a: null }, true, 1.5] };
      const runAt = new Date("2031-05-04T03:02:01.123Z");
      const enqueued = await enqueueOne({
        kind: newKind(),
        args,
        queue: "typescript",
        priority: 4,
        runAt,
        maxAttempts: 3,
        key: "customer 7",
        tags: ["a,b", 'c"d', "{e}"],
        keepsHistory: false,
        onDiscard: { kind: "tell", priority: 1 },
        after: [first.jobId],
        ifFailed: "run",
        traceContext: { ...CARRIER, "app.request.id": "r-7", baggage: "secret=1" },
      });
      const job = await stored(enqueued);
      assert.deepEqual(job.args, args);
      assert.deepEqual([job.queue, job.priority, job.run_at, job.max_attempts], ["typescript", 4, runAt, 3]);
      assert.deepEqual([job.key, job.tags, job.keeps_history], ["customer 7", ["a,b", 'c"d', "{e}"], false]);
      assert.deepEqual(job.on_discard, { kind: "tell", queue: "default", priority: 1, max_attempts: 10 });
      assert.deepEqual(job.trace_context, { ...CARRIER, "app.request.id": "r-7" });
      const waits = await query("select depends_on, if_failed from queue.dependencies where job_id = $1", [
        enqueued.jobId.toString(),
      ]);
      assert.deepEqual(waits, [{ depends_on: first.jobId.toString(), if_failed: "run" }]);
    });

    it("counts a delay by the database's clock", async () => {
      const delay = "interval '2 hours 1 millisecond'";
      const [{ before }] = await query("select clock_timestamp()::text as before", []);
      const enqueued = await enqueueOne({ kind: newKind(), delayMs: 2 * 3_600_000 + 1 });
      const [{ is_between }] = await query(
        `select run_at - ${delay} between $2::timestamptz and clock_timestamp() as is_between
         from queue.jobs where id = $1`,
        [enqueued.jobId.toString(), before],
      );
      assert.equal(is_between, true);
    });

    it("leaves nothing of what is rolled back", async () => {
      let rolledBack;
      await assert.rejects(
        driver.transaction(async (enqueue) => {
          rolledBack = await enqueue({ kind: newKind() });
          throw new Error("rolled back");
        }),
        /rolled back/,
      );
      assert.equal(await stored(rolledBack!), undefined);
    });

    it("enqueues a unique job once", async () => {
      const kind = newKind();
      const unique: Unique = { by: { fields: ["shard", "none"] } };
      const first = await enqueueOne({ kind, args: { shard: 7, at: 1 }, unique });
      const second = await enqueueOne({ kind, args: { shard: 7, at: 2 }, unique });
      assert.equal(first.isNew, true);
      assert.deepEqual(second, { jobId: first.jobId, isNew: false });
    });

    it("counts a unique job in the states and for the time that it says", async () => {
      const job: NewJob = { kind: newKind(), unique: { by: "args", whileIn: ["completed"] } };
      const both = await driver.transaction(async (enqueue) => [await enqueue(job), await enqueue(job)]);
      assert.deepEqual(both.map(({ isNew }) => isNew), [true, true]);
      const hourly = await enqueueOne({ kind: newKind(), unique: { by: { value: [7] }, lastingMs: 3_600_000 } });
      const [{ lasts }] = await query(
        `select expires_at between clock_timestamp() + interval '1 minute' and clock_timestamp() + interval '1 hour'
           as lasts
         from queue.unique_keys where job_id = $1`,
        [hourly.jobId.toString()],
      );
      assert.equal(lasts, true);
    });

    const refused: [string, Partial<NewJob>][] = [
      ["priority_is_known", { priority: 5 }],
      ["attempts_are_bounded", { maxAttempts: 0 }],
      ["args_are_named", { args: [1] as any }],
      ["key_is_short", { key: "" }],
      ["tags_are_plain_words", { tags: ["a\nb"] }],
      ["moment_is_from_1970_to_2199", { runAt: new Date("2300-01-01T00:00:00Z") }],
      ["window_is_bounded", { unique: { by: "args", lastingMs: 0 } }],
      ["states_are_known", { unique: { by: "args", whileIn: ["lost" as any] } }],
      ["dependencies_say_what_if_failed", { ifFailed: "sleep" as any }],
    ];
    for (const [constraint, job] of refused) {
      it(`gives the driver's own error for ${constraint}`, async () => {
        await assert.rejects(enqueueOne({ kind: newKind(), ...job }), (error) => {
          assert.deepEqual(driver.refusal(error), { code: "23514", constraint });
          return true;
        });
      });
    }

    it("tells that arguments are too long", async () => {
      await assert.rejects(enqueueOne({ kind: newKind(), args: { text: "x".repeat(262144) } }), (error) => {
        assert.deepEqual(driver.refusal(error), { code: "54000", constraint: "args_are_short" });
        return true;
      });
    });

    it("wakes workers", async () => {
      const listener = new pg.Client({ connectionString: url });
      await listener.connect();
      const heard = new Promise((resolve) => listener.once("notification", resolve));
      await listener.query("listen surety_queue");
      await driver.notify();
      await heard;
      await listener.end();
    });
  });
}
