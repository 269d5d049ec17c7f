drop table api.intake, api.intake_writers cascade;
drop type api.intake_outcome cascade;
