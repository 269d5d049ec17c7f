drop function queue.page_start, queue.ids_around, queue.args_for_operators;
