"""Verifies recorded webhooks of ours by the package standardwebhooks."""

import json
import sys
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

path, secret = Path(sys.argv[1]), sys.argv[2]
webhook = Webhook(secret)
lines = path.read_text().splitlines()
assert lines, "nothing was recorded"
for line in lines:
    request = json.loads(line)
    verified = webhook.verify(request["body"], request["headers"])
    assert verified == json.loads(request["body"]), request
    try:
        webhook.verify(request["body"] + " ", request["headers"])
    except WebhookVerificationError:
        continue
    raise AssertionError("a changed body was believed")
print(f"python: {len(lines)} webhooks of ours were verified")
