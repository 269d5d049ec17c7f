alter table payments.transaction_conflicts
  drop constraint transaction_conflicts_content_is_whole,
  drop column source_account, drop column destination_account, drop column amount, drop column currency;
drop table api.webhook_rejections, api.webhook_sources;
-- A value of an enum cannot be dropped: the type is made again without it.
delete from api.intake where outcome::text = 'ignored';
alter type api.intake_outcome rename to intake_outcome_with_ignored;
create type api.intake_outcome as enum ('accepted', 'duplicate', 'conflict', 'refused', 'unavailable');
alter table api.intake alter column outcome type api.intake_outcome using outcome::text::api.intake_outcome;
drop type api.intake_outcome_with_ignored;
