-- Entries of a function's log know the attempt of a run that wrote them, and are found by request and by attempt.

alter table function_logs add column attempt_id uuid;

create index function_logs_by_request on function_logs (function_id, request_id, at) where request_id is not null;
create index function_logs_by_attempt on function_logs (function_id, attempt_id, at) where attempt_id is not null;
