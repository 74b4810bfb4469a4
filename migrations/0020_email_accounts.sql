-- Accounts that are known by an e-mail address, and wallets that ask to join an account.

create table account_emails (
  -- What makes two spellings the same mailbox; see `plane::email`.
  email_key text primary key check (email_key <> '' and length(email_key) <= 320),
  email text not null check (length(email) <= 320),
  account_id uuid not null unique references accounts,
  -- Null until the mailbox has answered.
  verified_at timestamptz,
  created_at timestamptz not null
);

-- A link takes effect once the wallet and the account have both agreed.
create table wallet_links (
  wallet text not null check (wallet ~ '^0x[0-9a-f]{40}$'),
  account_id uuid not null references accounts,
  wallet_agreed_at timestamptz,
  account_agreed_at timestamptz,
  created_at timestamptz not null,
  primary key (wallet, account_id)
);
create index wallet_links_by_account on wallet_links (account_id);

-- What an account owes since money that it had spent was taken back; nothing is sold to it until that is covered.
alter table accounts add column card_debt_micros bigint not null default 0 check (card_debt_micros >= 0);
