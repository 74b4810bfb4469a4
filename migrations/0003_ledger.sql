-- The double-entry ledger. Transfers are append-only; balances are columns changed in the same transaction.
-- posted = credits - debits. A hold reserves part of the debit account's balance until it is captured or voided.

create table ledger_accounts (
  id bigint generated always as identity primary key,
  kind text not null check (kind in (
    'customer_credit', 'customer_test_credit', 'revenue', 'x402_clearing', 'stripe_clearing', 'refunds_payable',
    'exposure', 'exposure_contra', 'suspense', 'gas_expense', 'bad_debt', 'email_credits', 'email_credits_issued')),
  currency text not null check (currency in ('usd', 'test_usd', 'email')),
  -- The billing account for customer kinds, null for the platform's own.
  owner uuid references accounts,
  -- Network or product where a kind has several; '' otherwise.
  name text not null default '',
  may_be_negative boolean not null default false,
  posted bigint not null default 0,
  held bigint not null default 0 constraint ledger_held_not_negative check (held >= 0),
  version bigint not null default 0,
  constraint ledger_no_overdraft check (may_be_negative or posted - held >= 0),
  constraint ledger_account_identity unique nulls not distinct (kind, currency, owner, name),
  constraint ledger_account_currency unique (id, currency),
  -- Test money never lies on an account of cash, nor the other way round.
  constraint ledger_kind_currency check (case kind
    when 'customer_credit' then currency = 'usd'
    when 'customer_test_credit' then currency = 'test_usd'
    when 'email_credits' then currency = 'email'
    when 'email_credits_issued' then currency = 'email'
    else currency <> 'email' end)
) with (fillfactor = 70);
create index ledger_accounts_by_owner on ledger_accounts (owner) where owner is not null;

create table ledger_transfers (
  id bigint generated always as identity primary key,
  -- Where the fact comes from; the same fact cannot be posted twice.
  source text not null,
  source_id text not null,
  kind text not null check (kind in ('post', 'hold', 'capture', 'void')),
  currency text not null,
  debit bigint not null,
  credit bigint not null,
  amount bigint not null check (amount > 0),
  -- The hold that a capture or a void is about.
  hold_id bigint references ledger_transfers,
  -- The transfer that this one undoes.
  reverses bigint references ledger_transfers,
  -- Legs of one purchase share a link and were written in one transaction.
  link uuid not null,
  reason text not null,
  reference_type text,
  reference_id text,
  metadata jsonb not null default '{}',
  -- Balances right after this transfer, for statements.
  debit_posted_after bigint not null,
  debit_held_after bigint not null,
  credit_posted_after bigint not null,
  credit_held_after bigint not null,
  created_at timestamptz not null,
  constraint ledger_transfer_once unique (source, source_id),
  constraint ledger_two_accounts check (debit <> credit),
  constraint ledger_hold_named check ((kind in ('capture', 'void')) = (hold_id is not null)),
  -- Both sides in one currency: a cross-currency transfer has no key to refer to.
  foreign key (debit, currency) references ledger_accounts (id, currency),
  foreign key (credit, currency) references ledger_accounts (id, currency)
);
create index ledger_transfers_by_debit on ledger_transfers (debit, id);
create index ledger_transfers_by_credit on ledger_transfers (credit, id);
create index ledger_transfers_by_link on ledger_transfers (link);
create index ledger_transfers_by_hold on ledger_transfers (hold_id) where hold_id is not null;
create unique index ledger_one_void_per_hold on ledger_transfers (hold_id) where kind = 'void';
create unique index ledger_one_reversal on ledger_transfers (reverses) where reverses is not null;

-- What the sealer has still to do. A queue, because transfers do not commit in id order: nothing below a mark is final.
create table ledger_unsealed (
  transfer_id bigint primary key references ledger_transfers
);
create function ledger_queue_for_seal() returns trigger language plpgsql as $$
begin
  insert into ledger_unsealed select id from added;
  return null;
end $$;
create trigger ledger_transfers_queue after insert on ledger_transfers
  referencing new table as added for each statement execute function ledger_queue_for_seal();

-- The journal's order as sealed after commit; one sealer appends, so tampering shows and no writer waits.
create table ledger_seals (
  seq bigint primary key check (seq > 0),
  transfer_id bigint not null unique references ledger_transfers,
  hash bytea not null check (length(hash) = 32),
  sealed_at timestamptz not null
);

create table ledger_roots (
  day date primary key,
  first_seq bigint not null,
  last_seq bigint not null,
  root bytea not null check (length(root) = 32)
);

create function ledger_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the ledger is append-only' using errcode = 'insufficient_privilege', constraint = 'ledger_append_only';
end $$;
create trigger ledger_transfers_append_only before update or delete on ledger_transfers
  for each row execute function ledger_refuse_change();
create trigger ledger_transfers_no_truncate before truncate on ledger_transfers
  for each statement execute function ledger_refuse_change();
create trigger ledger_seals_append_only before update or delete on ledger_seals
  for each row execute function ledger_refuse_change();
create trigger ledger_seals_no_truncate before truncate on ledger_seals
  for each statement execute function ledger_refuse_change();
