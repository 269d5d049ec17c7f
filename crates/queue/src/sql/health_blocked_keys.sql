select queue, count(*) as "keys!", extract(epoch from now() - min(since))::float8 as "longest_secs!"
from queue.blocked_keys
group by queue
order by queue
