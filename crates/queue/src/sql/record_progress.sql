-- Records the progress of job $1 under fence $2: $3 percent done and the text $4, the checkpoint $5; null leaves
-- the value of before. Changes no indexed column. Returns no row when the job belongs to another worker by now.
update queue.jobs
set
  progress = coalesce($3, progress),
  progress_text = case when $3::smallint is null then progress_text else $4 end,
  checkpoint = coalesce($5, checkpoint)
where id = $1 and fence = $2 and running
returning id
