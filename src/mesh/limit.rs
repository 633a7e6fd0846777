//! What a call may use: buckets of rate, concurrency, quotas.
