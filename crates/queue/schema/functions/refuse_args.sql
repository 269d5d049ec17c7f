-- Refuses the arguments of a new job that have more bytes of JSON than queue.settings allows. In place of arguments in the
-- statements that enqueue, hence the result, which is never given.
create or replace function queue.refuse_args(kind text, bytes int) returns jsonb
language plpgsql
as $$
declare
  max_bytes constant int := (select max_args_bytes from queue.settings);
begin
  raise exception 'the arguments of a job of kind % have % bytes of JSON, and at most % are taken', kind, bytes, max_bytes
    using
      errcode = 'program_limit_exceeded',
      constraint = 'args_are_short',
      detail = jsonb_build_object('kind', kind, 'bytes', bytes, 'max_bytes', max_bytes)::text,
      hint = 'Keep what is large elsewhere, and enqueue its number. The limit is queue.settings.max_args_bytes.';
end $$;
