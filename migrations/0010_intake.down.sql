drop table api.intake, api.intake_writers, api.verifications cascade;
drop type api.intake_outcome cascade;
