drop table queue.resolutions, queue.interventions cascade; drop type queue.resolution;
