package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"surety.example/queue"
)

var traced = map[string]string{
	"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	"tracestate":  "a=b",
}

// A connection to the database that DATABASE_URL names, which has the queue's schema.
func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// A kind of job that no worker knows and no other test uses.
func newKind() string {
	var random [16]byte
	_, _ = rand.Read(random[:])
	return "go_" + hex.EncodeToString(random[:])
}

// Enqueues a job in a transaction of its own.
func enqueue(t *testing.T, conn *pgx.Conn, job queue.NewJob) (queue.Enqueued, error) {
	t.Helper()
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	enqueued, err := queue.Enqueue(ctx, tx, job)
	if err != nil {
		return enqueued, err
	}
	return enqueued, tx.Commit(ctx)
}

func mustEnqueue(t *testing.T, conn *pgx.Conn, job queue.NewJob) queue.Enqueued {
	t.Helper()
	enqueued, err := enqueue(t, conn, job)
	if err != nil {
		t.Fatal(err)
	}
	return enqueued
}

// Whether the job is there and this holds of its row.
func holds(t *testing.T, conn *pgx.Conn, id queue.JobID, condition string, params ...any) bool {
	t.Helper()
	var result bool
	query := "select exists (select from queue.jobs where id = $1 and " + condition + ")"
	err := conn.QueryRow(context.Background(), query, append([]any{int64(id)}, params...)...).Scan(&result)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestAJobIsThereWithWhatItNamesAlone(t *testing.T) {
	conn, kind := connect(t), newKind()
	job := mustEnqueue(t, conn, queue.NewJob{Kind: kind})
	const defaults = `kind = $2::text and args = '{}' and queue = 'default' and priority = 2 and max_attempts = 10
		and keeps_history and trace_context is null and tags is null and key is null`
	if !job.IsNew || !holds(t, conn, job.JobID, defaults, kind) {
		t.Fatalf("%v is not there as it should", job)
	}
}

func TestAJobIsThereWithEverythingThatItNames(t *testing.T) {
	conn := connect(t)
	first := mustEnqueue(t, conn, queue.NewJob{Kind: newKind()})
	args := map[string]any{"name": "Ada \"ℂ\" \\ \n <é>", "n": int64(1<<53 + 1)}
	job := mustEnqueue(t, conn, queue.NewJob{
		Kind:         newKind(),
		Args:         args,
		Queue:        "go",
		Priority:     4,
		RunAt:        time.Date(2031, 5, 4, 3, 2, 1, 123456000, time.FixedZone("", 19800)),
		MaxAttempts:  3,
		Key:          "customer 7",
		Tags:         []string{"a,b", `c"d`, "{e}"},
		NoHistory:    true,
		OnDiscard:    &queue.FollowUp{Kind: "tell", Priority: 1},
		After:        []queue.JobID{first.JobID},
		IfFailed:     queue.Run,
		TraceContext: map[string]string{"traceparent": traced["traceparent"], "tracestate": "a=b", "baggage": "secret=1"},
	})
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	trace, _ := json.Marshal(traced)
	const everything = `args = $2::text::jsonb and queue = 'go' and priority = 4
		and run_at = '2031-05-04 03:02:01.123456+05:30' and max_attempts = 3 and key = 'customer 7'
		and tags = array['a,b', 'c"d', '{e}'] and not keeps_history
		and on_discard = '{"kind": "tell", "queue": "default", "priority": 1, "max_attempts": 10}'
		and trace_context = $3::text::jsonb
		and (select (depends_on, if_failed) = ($4::bigint, 'run') from queue.dependencies where job_id = jobs.id)`
	if !holds(t, conn, job.JobID, everything, string(text), string(trace), int64(first.JobID)) {
		t.Fatalf("%v is not there as it should", job)
	}
}

func TestADelayIsByTheDatabasesClock(t *testing.T) {
	conn := connect(t)
	var before time.Time
	if err := conn.QueryRow(context.Background(), "select clock_timestamp()").Scan(&before); err != nil {
		t.Fatal(err)
	}
	job := mustEnqueue(t, conn, queue.NewJob{Kind: newKind(), Delay: 2*time.Hour + time.Millisecond})
	const between = "run_at - interval '2 hours 1 millisecond' between $2::timestamptz and clock_timestamp()"
	if !holds(t, conn, job.JobID, between, before) {
		t.Fatal("it is due at another moment")
	}
}

func TestWhatIsRolledBackWasNeverEnqueued(t *testing.T) {
	conn, ctx := connect(t), context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	job, err := queue.Enqueue(ctx, tx, queue.NewJob{Kind: newKind()})
	if err := errors.Join(err, tx.Rollback(ctx)); err != nil {
		t.Fatal(err)
	}
	if holds(t, conn, job.JobID, "true") {
		t.Fatal("it is there")
	}
}

func TestAUniqueJobIsEnqueuedOnce(t *testing.T) {
	conn, kind := connect(t), newKind()
	unique := &queue.Unique{Fields: []string{"shard", "none"}}
	first := mustEnqueue(t, conn, queue.NewJob{Kind: kind, Args: map[string]any{"shard": 7, "at": 1}, Unique: unique})
	second := mustEnqueue(t, conn, queue.NewJob{Kind: kind, Args: map[string]any{"shard": 7, "at": 2}, Unique: unique})
	if want := (queue.Enqueued{JobID: first.JobID}); !first.IsNew || !reflect.DeepEqual(second, want) {
		t.Fatalf("%v, then %v", first, second)
	}
}

func TestAUniqueJobCountsInTheStatesAndForTheTimeThatItSays(t *testing.T) {
	conn := connect(t)
	job := queue.NewJob{Kind: newKind(), Unique: &queue.Unique{WhileIn: []queue.State{queue.Completed}}}
	if first, second := mustEnqueue(t, conn, job), mustEnqueue(t, conn, job); !first.IsNew || !second.IsNew {
		t.Fatalf("%v, then %v", first, second)
	}
	hourly := mustEnqueue(t, conn, queue.NewJob{Kind: newKind(), Unique: &queue.Unique{Lasting: time.Hour}})
	const lasts = `(select expires_at between clock_timestamp() + interval '1 minute'
		and clock_timestamp() + interval '1 hour' from queue.unique_keys where job_id = jobs.id)`
	if !holds(t, conn, hourly.JobID, lasts) {
		t.Fatal("it counts for another time")
	}
}

func TestARefusalOfTheDatabaseComesAsPgxsOwnError(t *testing.T) {
	conn := connect(t)
	for constraint, job := range map[string]queue.NewJob{
		"priority_is_known":               {Priority: 5},
		"attempts_are_bounded":            {MaxAttempts: 1001},
		"args_are_named":                  {Args: []int{1}},
		"key_is_short":                    {Key: strings.Repeat("k", 201)},
		"tags_are_plain_words":            {Tags: []string{"a\nb"}},
		"moment_is_from_1970_to_2199":     {RunAt: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)},
		"window_is_bounded":               {Unique: &queue.Unique{Lasting: -time.Second}},
		"states_are_known":                {Unique: &queue.Unique{WhileIn: []queue.State{"lost"}}},
		"dependencies_say_what_if_failed": {IfFailed: "sleep"},
		"args_are_short":                  {Args: map[string]string{"text": strings.Repeat("x", 262144)}},
	} {
		job.Kind = newKind()
		_, err := enqueue(t, conn, job)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.ConstraintName != constraint {
			t.Errorf("%s: %v", constraint, err)
		}
	}
}

func TestWorkersAreWoken(t *testing.T) {
	listener, ctx := connect(t), context.Background()
	if _, err := listener.Exec(ctx, "listen surety_queue"); err != nil {
		t.Fatal(err)
	}
	if err := queue.Notify(ctx, connect(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := listener.WaitForNotification(ctx); err != nil {
		t.Fatal(err)
	}
}
