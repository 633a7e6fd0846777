//! What HTTP clients are answered that may not do what they ask for.
