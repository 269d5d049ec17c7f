module surety.example/queue/example

go 1.21

require (
	github.com/jackc/pgx/v5 v5.7.6
	surety.example/queue v0.0.0
)

replace surety.example/queue => ../
