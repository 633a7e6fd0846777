//! A session against servers in memory: what is asked, what comes back, and what a hostile one cannot do.
