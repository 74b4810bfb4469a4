-- Mail to the mailbox of a billing account that is not delivered yet: written with what it tells, delivered by its id.
create table account_mail (
  id uuid primary key,
  account_id uuid not null references accounts,
  recipient text not null check (length(recipient) <= 320),
  template text not null,
  subject text not null,
  body text not null,
  created_at timestamptz not null
);
create index on account_mail (created_at);

-- What a mailbox is asked to confirm: that it belongs to the account, or that a wallet may join it.
create table account_confirmations (
  -- SHA-256 of the token that was mailed.
  token_hash bytea primary key check (length(token_hash) = 32),
  email_key text not null references account_emails (email_key),
  wallet text check (wallet ~ '^0x[0-9a-f]{40}$'),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
create index on account_confirmations (email_key, created_at);
create index on account_confirmations (expires_at);

-- A notice waits until it is written as mail, or until it is known that its account has no mailbox.
alter table notices add column unreachable_at timestamptz;
drop index notices_waiting;
create index notices_waiting on notices (id) where delivered_at is null and unreachable_at is null;

-- Mail of an account belongs to no project.
alter table lab_mail alter column project_id drop not null;
