drop schema bank cascade;
