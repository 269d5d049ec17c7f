// Package queue enqueues jobs of the PostgreSQL queue surety-queue in the caller's transaction, with pgx.
//
// It needs no pgx itself: any transaction, connection or pool with pgx's QueryRow will do, of version 4 or 5. The
// database decides what is valid, and its errors reach the caller as pgx gives them, a *pgconn.PgError whose
// ConstraintName says which rule it was.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// JobID is the id of a job.
type JobID int64

// BatchID is the id of a batch of jobs.
type BatchID int64

// State is a state of a job.
type State string

// The states of jobs.
const (
	Scheduled State = "scheduled"
	Available State = "available"
	Retryable State = "retryable"
	Running   State = "running"
	Completed State = "completed"
	Cancelled State = "cancelled"
	Discarded State = "discarded"
)

// IfFailed is the consequence for a waiting job when one that it waits for is discarded or cancelled.
type IfFailed string

// Cancel cancels the waiting job, Wait lets it wait for the redrive of the other one, Run lets it run as if the other
// one had been completed.
const (
	Cancel IfFailed = "cancel"
	Wait   IfFailed = "wait"
	Run    IfFailed = "run"
)

// NewJob is a job that is about to be enqueued. A zero field means the database's default.
type NewJob struct {
	Kind string
	// Args are named values, a struct or a map that encoding/json can write, of at most 256 KiB unless the queue's
	// settings say otherwise. Nil: none.
	Args any
	// Queue is another one than "default". Workers claim from the queues of the kinds that they know.
	Queue string
	// Priority is 1 (claimed first) to 4 (last). Zero: 2.
	Priority int
	// RunAt is when it is due; at once if that has passed.
	RunAt time.Time
	// Delay is after how long it is due, by the database's clock. Not beside RunAt.
	Delay time.Duration
	// MaxAttempts is after how many failed attempts it is discarded, 1 to 1000. Zero: 10.
	MaxAttempts int
	// Key is what jobs share limits and take fair turns by, and run in order by in an ordered queue, such as a customer.
	Key string
	// Tags are words to find it by.
	Tags []string
	// Unique says that it is enqueued only if there is no other such job.
	Unique *Unique
	// NoHistory says that it leaves no row behind once it is completed.
	NoHistory bool
	// OnDiscard is enqueued when it is discarded without its handler having decided so.
	OnDiscard *FollowUp
	// BatchID is the batch that it is a member of, which must not be done.
	BatchID BatchID
	// After are the jobs that must have ended before it runs.
	After []JobID
	// IfFailed is the consequence when one of After is discarded or cancelled. Empty: Cancel.
	IfFailed IfFailed
	// TraceContext is a carrier as OpenTelemetry's Inject fills it, such as a propagation.MapCarrier. Of it the job
	// carries "traceparent", "tracestate" and "app.request.id".
	TraceContext map[string]string
}

// FollowUp is the job that is enqueued when another one is discarded.
type FollowUp struct {
	Kind string
	// Queue is "default" if it is empty.
	Queue string
	// Priority is 1 to 4. Zero: 2.
	Priority int
	// MaxAttempts is 1 to 1000. Zero: 10.
	MaxAttempts int
}

// Unique is the rule that makes a job unique among those of its kind. A job is compared with the latest that was enqueued
// with the same value; of several at once exactly one is enqueued. The zero Unique compares all arguments.
type Unique struct {
	// Fields are the names of the arguments that are compared; a missing one equals null.
	Fields []string
	// Value is compared instead of arguments if it is not nil. Not beside Fields.
	Value any
	// Lasting is for how long after its enqueue a job counts, completed ones included. Zero: until it is finished.
	Lasting time.Duration
	// WhileIn are the states in which a job counts. Empty: all unfinished ones and, with Lasting, Completed.
	WhileIn []State
}

// Enqueued is the job that was enqueued; or, of a unique job, the one that was there already.
type Enqueued struct {
	JobID JobID
	IsNew bool
}

// Row is what pgx.Row does.
type Row interface {
	Scan(dest ...any) error
}

// Querier is what pgx.Tx, *pgx.Conn and *pgxpool.Pool do.
type Querier[R Row] interface {
	QueryRow(ctx context.Context, sql string, args ...any) R
}

// Enqueue enqueues a job in the transaction tx: it exists once, and only if, that commits. By a connection or a pool
// instead, it is a transaction of its own.
//
// An error of the database is pgx's own, and the transaction can then only be rolled back, also to a savepoint. Other
// errors say that JSON cannot say the arguments, or that the job contradicts itself.
func Enqueue[R Row](ctx context.Context, tx Querier[R], job NewJob) (Enqueued, error) {
	sql, params, err := statement(job)
	if err != nil {
		return Enqueued{}, err
	}
	var enqueued Enqueued
	err = tx.QueryRow(ctx, sql, params...).Scan((*int64)(&enqueued.JobID), &enqueued.IsNew)
	return enqueued, err
}

// Notify wakes idle workers, which otherwise look at their next poll. Call it after the commit, by a connection or a
// pool: commits that notify wait for each other.
func Notify[R Row](ctx context.Context, conn Querier[R]) error {
	var done string
	return conn.QueryRow(ctx, "select pg_notify('surety_queue', '')::text").Scan(&done)
}

const (
	words   = "array(select jsonb_array_elements_text(?::text::jsonb))"
	seconds = "make_interval(secs => ?::float8)"

	// A tracestate comes from outside and is stored with every job: longer ones are left out, as the queue does it.
	maxTracestateBytes = 512
)

// What a job carries of a trace. Baggage may hold anything, and is not stored.
var traceFields = []string{"traceparent", "tracestate", "app.request.id"}

// A call of queue.enqueue that has only those arguments which the job names, so that defaults stay the database's.
type call struct {
	arguments []string
	params    []any
	err       error
}

func statement(job NewJob) (string, []any, error) {
	if !job.RunAt.IsZero() && job.Delay != 0 {
		return "", nil, errors.New("a job has a moment or a delay, not both")
	}
	args := []byte("{}")
	if job.Args != nil {
		var err error
		if args, err = json.Marshal(job.Args); err != nil {
			return "", nil, fmt.Errorf("arguments of a job of kind %q: %w", job.Kind, err)
		}
	}
	c := &call{}
	c.give("kind", true, job.Kind, "?::text")
	c.give("args", true, string(args), "?::text::jsonb")
	c.give("queue", job.Queue != "", job.Queue, "?::text")
	c.giveInt("priority", job.Priority)
	c.give("run_at", !job.RunAt.IsZero(), job.RunAt.Format(time.RFC3339Nano), "?::text::timestamptz")
	c.give("run_at", job.Delay != 0, job.Delay.Seconds(), "clock_timestamp() + "+seconds)
	c.giveInt("max_attempts", job.MaxAttempts)
	c.give("key", job.Key != "", job.Key, "?::text")
	c.giveJSON("tags", len(job.Tags) > 0, job.Tags, words)
	if job.Unique != nil {
		c.giveUnique(*job.Unique, args)
	}
	c.give("keeps_history", job.NoHistory, false, "?::boolean")
	if job.OnDiscard != nil {
		c.giveJSON("on_discard", true, job.OnDiscard.stored(), "?::text::jsonb")
	}
	c.give("batch_id", job.BatchID != 0, int64(job.BatchID), "?::bigint")
	c.giveJSON("after", len(job.After) > 0, job.After, words+"::bigint[]")
	c.give("if_failed", job.IfFailed != "", string(job.IfFailed), "?::text")
	carried := carriedOf(job.TraceContext)
	c.giveJSON("trace_context", len(carried) > 0, carried, "?::text::jsonb")
	sql := "select job_id, is_new from queue.enqueue(" + strings.Join(c.arguments, ", ") + ")"
	return sql, c.params, c.err
}

// JSON travels as text, since versions of pgx differ in what they make of jsonb.
func (c *call) give(name string, given bool, value any, expression string) {
	if !given {
		return
	}
	c.params = append(c.params, value)
	placeholder := fmt.Sprintf("$%d", len(c.params))
	c.arguments = append(c.arguments, name+" => "+strings.Replace(expression, "?", placeholder, 1))
}

// A number that no int of PostgreSQL holds is out of every bound: the nearest one that it holds is refused as well.
func (c *call) giveInt(name string, value int) {
	held := int32(max(math.MinInt32, min(math.MaxInt32, value)))
	c.give(name, value != 0, held, "?::int")
}

func (c *call) giveJSON(name string, given bool, value any, expression string) {
	if !given {
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("%s: %w", name, err))
		return
	}
	c.give(name, true, string(text), expression)
}

func (c *call) giveUnique(unique Unique, args []byte) {
	value := unique.Value
	switch {
	case unique.Value != nil && len(unique.Fields) > 0:
		c.err = errors.Join(c.err, errors.New("a job is unique by fields or by a value, not by both"))
	case len(unique.Fields) > 0:
		// Their texts as they are: a number must not pass through a float.
		var all map[string]json.RawMessage
		if err := json.Unmarshal(args, &all); err != nil {
			c.err = errors.Join(c.err, fmt.Errorf("arguments of a unique job: %w", err))
		}
		values := make(map[string]json.RawMessage, len(unique.Fields))
		for _, name := range unique.Fields {
			values[name] = all[name]
		}
		value = values
	case unique.Value == nil:
		value = json.RawMessage(args)
	}
	c.giveJSON("unique_by", true, value, "?::text::jsonb")
	c.give("unique_for", unique.Lasting != 0, unique.Lasting.Seconds(), seconds)
	c.giveJSON("unique_while", len(unique.WhileIn) > 0, unique.WhileIn, words)
}

func (f FollowUp) stored() map[string]any {
	stored := map[string]any{"kind": f.Kind, "queue": "default", "priority": 2, "max_attempts": 10}
	if f.Queue != "" {
		stored["queue"] = f.Queue
	}
	if f.Priority != 0 {
		stored["priority"] = f.Priority
	}
	if f.MaxAttempts != 0 {
		stored["max_attempts"] = f.MaxAttempts
	}
	return stored
}

func carriedOf(carrier map[string]string) map[string]string {
	carried := make(map[string]string, len(traceFields))
	for _, name := range traceFields {
		value := carrier[name]
		if value != "" && (name != "tracestate" || len(value) <= maxTracestateBytes) {
			carried[name] = value
		}
	}
	return carried
}
