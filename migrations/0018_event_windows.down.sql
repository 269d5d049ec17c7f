alter table events.readers drop column taking_to;
