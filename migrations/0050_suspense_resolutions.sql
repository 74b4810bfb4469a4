-- What an operator decided about money in suspense. The transfer says what moved, this row who said so and why.

create table suspense_resolutions (
  -- The sighting's name in the ledger: one log of one block. It is resolved once.
  sighting text primary key,
  outcome text not null check (outcome in ('credited', 'returned')),
  account_id uuid references accounts,
  -- The transaction that sent it back.
  returned_tx bytea check (length(returned_tx) = 32),
  amount_micros bigint not null check (amount_micros > 0),
  currency text not null check (currency in ('usd', 'test_usd')),
  note text not null check (length(note) <= 500),
  -- The operator's wallet, which signed the request.
  admin text not null check (admin ~ '^0x[0-9a-f]{40}$'),
  created_at timestamptz not null,
  constraint suspense_credited_names_account check ((outcome = 'credited') = (account_id is not null)),
  constraint suspense_returned_names_tx check ((outcome = 'returned') = (returned_tx is not null))
);
create trigger suspense_resolutions_append_only before update or delete on suspense_resolutions
  for each row execute function ledger_refuse_change();
create trigger suspense_resolutions_no_truncate before truncate on suspense_resolutions
  for each statement execute function ledger_refuse_change();

create index sightings_suspended on sightings (network, block_number, log_index) where in_suspense and canonical;
