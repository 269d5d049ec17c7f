select 'queue.finished_jobs holds discarded jobs that nobody has decided over: redrive or dismiss them'
where exists (
  select from queue.finished_jobs as discarded
  where discarded.state = 'discarded'
    and not exists (
      select from queue.resolutions as resolved
      where resolved.job_id = discarded.id and resolved.attempt = discarded.attempt
    )
)
