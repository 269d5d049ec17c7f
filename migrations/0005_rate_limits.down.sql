drop schema rate_limits cascade;
