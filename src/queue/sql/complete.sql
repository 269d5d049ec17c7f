-- Completes the jobs $1 under their fences $2 and returns those that were still this worker's. The function (see the
-- migration) goes by index whatever connection it is called on.
select queue.complete($1, $2) as "id!"
