drop function queue.page_start, queue.ids_around;
