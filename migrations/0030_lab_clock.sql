-- How far a lab's clock was moved forwards: one row, so that every node and every restart agree.
create table lab_clock (
  singleton boolean primary key default true check (singleton),
  -- A century at most, so that no sum of times leaves what the program can hold.
  shift_micros bigint not null check (shift_micros between 0 and 3155760000000000)
);
