drop schema notices cascade;
