// Program example makes an order and the job that ships it, in one transaction.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"surety.example/queue"
)

func main() {
	if err := order(context.Background(), os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

type shipOrder struct {
	OrderID int64 `json:"order_id"`
}

func order(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "create temporary table orders (id bigint generated always as identity, item text)")
	if err != nil {
		return err
	}

	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	var args shipOrder
	err = tx.QueryRow(ctx, "insert into orders (item) values ('tea') returning id").Scan(&args.OrderID)
	if err != nil {
		return err
	}
	job, err := queue.Enqueue(ctx, tx, queue.NewJob{
		Kind:     "ship_order",
		Args:     args,
		Priority: 1,
		Delay:    5 * time.Minute,
		Tags:     []string{"tea"},
		Unique:   &queue.Unique{Fields: []string{"order_id"}, Lasting: time.Hour},
	})
	if err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	fmt.Printf("job %d, new: %t, will ship order %d\n", job.JobID, job.IsNew, args.OrderID)
	// After the commit; without it, workers find the job at their next poll.
	return queue.Notify(ctx, conn)
}
