module surety.example/queue

go 1.21
