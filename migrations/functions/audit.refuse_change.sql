-- The log is evidence, so it is only ever added to. Who may switch triggers off can change it all the same: that is
-- what the tree over it is for.
create or replace function audit.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of audit.% refused: the log is only added to', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end $$;
create or replace trigger entries_are_immutable before update or delete or truncate on audit.entries
  for each statement execute function audit.refuse_change();
create or replace trigger leaves_are_immutable before update or delete or truncate on audit.leaves
  for each statement execute function audit.refuse_change();
create or replace trigger subtrees_are_immutable before update or delete or truncate on audit.subtrees
  for each statement execute function audit.refuse_change();
create or replace trigger heads_are_immutable before update or delete or truncate on audit.heads
  for each statement execute function audit.refuse_change();
