"""Posts a webhook and reads its transaction and a wallet, by the client that openapi-python-client generated."""

import sys
import time
import uuid

from surety_client import AuthenticatedClient, Client
from surety_client.api.auth import sign_in
from surety_client.api.inbound_webhooks import receive_transaction
from surety_client.api.transactions import get_transaction
from surety_client.api.users import create_user
from surety_client.api.wallets import get_wallet_balance, list_wallets
from surety_client.models import Login, Problem, TransactionEvent, TransactionStatus, UserIn

PASSWORD = "three otters on a raft"


def webhook_and_transaction(client: Client) -> None:
    transaction_id = f"txn_python_{uuid.uuid4()}"
    event = TransactionEvent(
        transaction_id=transaction_id,
        source_account="acc_python",
        destination_account="acc_shop",
        amount="12.50",
        currency="USD",
    )
    accepted = receive_transaction.sync_detailed(client=client, body=event)
    assert accepted.status_code == 202, accepted

    for _ in range(100):
        transaction = get_transaction.sync(transaction_id, client=client)
        if transaction.status != TransactionStatus.PROCESSING:
            break
        time.sleep(0.1)
    assert transaction.status == TransactionStatus.COMPLETED, transaction
    assert transaction.amount == "12.50", transaction

    unknown = get_transaction.sync("txn_unknown", client=client)
    assert isinstance(unknown, Problem) and unknown.code == "transaction-not-found", unknown


def user_and_wallet(client: Client, url: str) -> None:
    email = f"{uuid.uuid4()}@example.com"
    create_user.sync(client=client, body=UserIn(email=email, password=PASSWORD, currency="USD"))
    access = sign_in.sync(client=client, body=Login(email=email, password=PASSWORD))
    with AuthenticatedClient(base_url=url, token=access.access_token) as signed_in:
        wallet = list_wallets.sync(client=signed_in).wallets[0]
        balance = get_wallet_balance.sync(wallet.id, client=signed_in)
    assert balance.balance == "0.00", balance


url = sys.argv[1]
with Client(base_url=url) as client:
    webhook_and_transaction(client)
    user_and_wallet(client, url)
print("python: a webhook was posted, its transaction read, and a wallet's balance")
