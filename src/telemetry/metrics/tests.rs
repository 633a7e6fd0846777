//! What is exported, and that it stays within its bounds.
