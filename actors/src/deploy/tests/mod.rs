//! E08: a deploy that is killed at any of its writes is resumed or not begun, and never half live.

mod contents;
mod garbage;
mod generated;
mod killed;
mod kit;
mod repeated;
mod scenarios;
mod store_faults;
mod writes;
