//! The cloud that fits in a folder, in process behind the SDK's HTTP-client seam.
