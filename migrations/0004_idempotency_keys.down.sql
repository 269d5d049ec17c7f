drop schema api cascade;
