-- Once per cell; one statement a line, each takes effect on reload. A cell should also be started with:
-- max_connections = 300, max_locks_per_transaction = 1024 (the lock table is shared by all tenants),
-- max_prepared_transactions = 0, max_notify_queue_pages = 4096, recovery_init_sync_method = syncfs; and with a
-- limit on each process's private memory (`prlimit --data`, 512 MiB): work_mem is the tenant's to set.
alter system set autovacuum_naptime = '5min'
alter system set temp_file_limit = '512MB'
alter system set idle_in_transaction_session_timeout = '60s'
-- No values of tenants in the log.
alter system set log_parameter_max_length_on_error = 0
alter system set password_encryption = 'scram-sha-256'
-- Only because every password is 256 random bits.
alter system set scram_iterations = 1
alter system set jit = off
