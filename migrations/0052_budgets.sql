-- What may be spent of an account's credit in a day, by whom and for what. Owners set it, debits count against it.

create table budgets (
  id bigint generated always as identity primary key,
  account_id uuid not null references accounts,
  -- Null: whichever wallet asks; whatever project it is for.
  wallet text check (wallet ~ '^0x[0-9a-f]{40}$'),
  project_id uuid references projects,
  limit_micros bigint not null check (limit_micros >= 0),
  set_by text not null check (set_by ~ '^0x[0-9a-f]{40}$'),
  updated_at timestamptz not null,
  constraint budget_once unique nulls not distinct (account_id, wallet, project_id)
);

-- What was spent of it, by the day (UTC, the platform's clock) and the money: test money is not cash.
create table budget_days (
  budget_id bigint not null references budgets on delete cascade,
  day date not null,
  currency text not null check (currency in ('usd', 'test_usd')),
  spent_micros bigint not null check (spent_micros >= 0),
  primary key (budget_id, day, currency)
);
