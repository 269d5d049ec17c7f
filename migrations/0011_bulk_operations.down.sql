drop schema operations cascade;
drop index payments.transaction_conflicts_open, payments.transaction_conflicts_corrected_once;
alter table payments.transaction_conflicts
  drop column resolution, drop column resolved_by, drop column resolve_reason, drop column resolved_at,
  drop column reversal_id, drop column correction_id;
