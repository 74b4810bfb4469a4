-- Reports look at a span of time. Transfers are appended, so pages are in the order of time, or nearly.
create index ledger_transfers_by_time on ledger_transfers using brin (created_at) with (pages_per_range = 32);
